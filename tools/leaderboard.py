#!/usr/bin/env python
"""A folder of results -> leaderboard.md, .csv, .json, .tex and index.html, to open in a browser.

A suite's folder also has what the suite asked for: its order, comparisons, and what is not there.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from semaim_mm.data.prepare import overlaps_at_hand, read_overlaps
from semaim_mm.leaderboard.write.board import write_leaderboard
from semaim_mm.runtime.launch import user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "results", type=Path, help="folder that holds result.json files, at any depth"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--overlaps",
        nargs="+",
        help="overlap.json files of tools/prepare_data.py, or folders of data sets that hold them; "
        "those in data/, or $SEMAIM_DATA, unless told",
    )
    parser.add_argument(
        "--truth",
        nargs="+",
        default=[],
        help="COCO annotation files of test sets, for intervals of AP where a result's own file is "
        "no longer where it was",
    )
    args = parser.parse_args()
    overlaps = read_overlaps(*args.overlaps) if args.overlaps else overlaps_at_hand()
    # a log has no width of its own
    console = Console(width=None if sys.stdout.isatty() else 180)
    write_leaderboard(args.results, args.out, console, overlaps, args.truth)


if __name__ == "__main__":
    with user_errors():
        main()
