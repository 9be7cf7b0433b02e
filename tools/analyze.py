#!/usr/bin/env python
"""See why an order helps: what checkpoints of one pretraining predict first, on the CPU.

Or, with --proxy, whether cheap measures foretell detection and segmentation in a folder of results.
"""

import argparse

from semaim_mm.analysis.proxy import write_validity
from semaim_mm.analysis.run import ANALYSES, analyze
from semaim_mm.runtime.launch import user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", help="that pretrained the checkpoints")
    parser.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT", help="oldest first")
    parser.add_argument(
        "--only", nargs="+", choices=ANALYSES, help="default: all that the model can"
    )
    parser.add_argument("--annotations", help="instances_X.json; default: the sample data's")
    parser.add_argument("--limit", type=int, default=200, help="of pictures")
    parser.add_argument("--out", metavar="DIR", help="default: analysis beside the checkpoint")
    parser.add_argument("--proxy", metavar="RESULTS_DIR", help="instead of config and checkpoints")
    args = parser.parse_args()
    if args.proxy if args.config else not args.proxy:
        parser.error("give CONFIG and CHECKPOINTs, or --proxy RESULTS_DIR alone")
    if args.proxy:
        print(*write_validity(args.proxy, args.out), sep="\n")
        return
    if not args.checkpoints:
        parser.error("give at least one CHECKPOINT after CONFIG")
    for path in analyze(
        args.config, args.checkpoints, args.only, args.annotations, args.limit, args.out
    ):
        print(path)


if __name__ == "__main__":
    with user_errors():
        main()
