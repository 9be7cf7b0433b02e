#!/usr/bin/env python
"""List the known-good anchors: published scores, and which were reproduced here."""

import argparse
import sys
from itertools import groupby
from pathlib import Path

from semaim_mm.report.anchors import Anchor, load_anchors
from semaim_mm.runtime.launch import user_errors


def told(anchor: Anchor) -> str:
    """-> an anchor's line: its metric, what is expected of it, its state, where that is known."""
    if anchor.expected is None:
        return f"{anchor.metric} no published figure; {anchor.state}"
    figure = f"{anchor.expected:.1f} +- {anchor.tolerance:.1f}"
    return f"{anchor.metric} {figure}; {anchor.state}; source: {anchor.source}"


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
            print(f"    tools/dist_train.sh {scores[0].train} 8")
        print(f"    python tools/test.py {scores[0].config} CHECKPOINT --method {name}")
    return int(any(anchor.state.startswith("OFF") for anchor in anchors))


if __name__ == "__main__":
    with user_errors():
        sys.exit(main())
