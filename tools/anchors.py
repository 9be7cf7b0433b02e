#!/usr/bin/env python
"""List the known-good anchors: published scores, and which were reproduced here."""

import argparse
import sys
from pathlib import Path

from semaim_mm.report.anchors import load_anchors
from semaim_mm.runtime.launch import user_errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=Path("work_dirs"))
    anchors = load_anchors(parser.parse_args().results)
    for anchor in anchors:
        print(f"{anchor.name:<20} {anchor.metric} {anchor.expected:5.1f} +- {anchor.tolerance:.1f}")
        print(f"    {anchor.state}; source: {anchor.source}")
        if anchor.task != "knn":
            print(f"    tools/dist_train.sh {anchor.config} 8")
        print(f"    python tools/test.py {anchor.config} CHECKPOINT --method {anchor.name}")
    return int(any(anchor.state.startswith("OFF") for anchor in anchors))


if __name__ == "__main__":
    with user_errors():
        sys.exit(main())
