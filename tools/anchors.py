#!/usr/bin/env python
"""List the known-good anchors: published scores, and which were reproduced here."""

import argparse
import sys
from itertools import groupby
from pathlib import Path

from semaim_mm.report.anchors import Anchor, load_anchors
from semaim_mm.runtime.launch import load_config, user_errors

DEVICES = 8  # of a machine


def told(anchor: Anchor) -> str:
    """-> an anchor's line: its metric, what is expected of it, its state, where that is known."""
    if anchor.expected is None:
        return f"{anchor.metric} no published figure; {anchor.state}"
    figure = f"{anchor.expected:.1f} +- {anchor.tolerance:.1f}"
    return f"{anchor.metric} {figure}; {anchor.state}; source: {anchor.source}"


def training(leaf: str) -> list[str]:
    """-> the commands that train a leaf on machines of 8 devices, one a machine."""
    cfg = load_config(leaf)
    machines = 1
    if (cfg.get("norm_cfg") or {}).get("type") == "SyncBN":
        # its statistics are of a step: an update has to be one
        machines = -(-cfg.total_batch // (DEVICES * cfg.train_dataloader["batch_size"]))
    command = f"tools/dist_train.sh {leaf} {DEVICES}"
    if machines == 1:
        return [command]
    ranks = (f"NNODES={machines} NODE_RANK={rank}" for rank in range(machines))
    return [f"{rank} MASTER_ADDR=HOST {command}" for rank in ranks]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=Path("work_dirs"))
    anchors = load_anchors(parser.parse_args().results)
    for name, group in groupby(anchors, key=lambda anchor: anchor.name):
        scores = list(group)
        print(name)
        for anchor in scores:
            print(f"    {told(anchor)}")
        for note in dict.fromkeys(anchor.note for anchor in scores if anchor.note):
            print(f"    note: {note}")
        if scores[0].train is not None:
            print(*(f"    {line}" for line in training(scores[0].train)), sep="\n")
        print(f"    python tools/test.py {scores[0].config} CHECKPOINT --method {name}")
    return int(any(anchor.state.startswith("OFF") for anchor in anchors))


if __name__ == "__main__":
    with user_errors():
        sys.exit(main())
