#!/usr/bin/env python
"""Check a data set against what is published of it and write the manifest that results record.

python tools/prepare_data.py imagenet|coco|ade20k|imagefolder|folder PATH
python tools/prepare_data.py overlap PRETRAINING TEST...
python tools/prepare_data.py shards FOLDER OUT
"""

import argparse

from semaim_mm.data.prepare import KINDS, check, find_overlaps, prepare, write_low_shot
from semaim_mm.data.prepare.findings import as_lines
from semaim_mm.data.prepare.shards import write_shards
from semaim_mm.runtime.launch import user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind in KINDS:
        one = kinds.add_parser(kind)
        one.add_argument("path", help="the folder that the config's data_root names")
        one.add_argument("--check", action="store_true", help="verify the manifest, byte by byte")
        if kind in ("imagenet", "coco", "ade20k"):
            one.add_argument(
                "--partial", action="store_true", help="let other counts pass, and record them"
            )
        if kind in ("imagenet", "imagefolder"):
            one.add_argument(
                "--low-shot",
                type=int,
                nargs="+",
                default=[],
                metavar="SEED",
                help="also write lists of 1 %% and 10 %% of the labelled images",
            )
    overlap = kinds.add_parser("overlap", help="find test images that a pretraining has seen")
    overlap.add_argument("pretraining", help="a prepared data set, or a folder of one")
    overlap.add_argument("tests", nargs="+", help="the same")
    shards = kinds.add_parser("shards", help="pack a folder of images into tar shards")
    shards.add_argument("path", help="the folder")
    shards.add_argument("out", help="a new folder for shard-*.tar and index.npz")
    shards.add_argument("--split", default="", help="sub-folder of PATH, e.g. train")
    shards.add_argument("--labels", action="store_true", help="its sub-folders are classes")
    shards.add_argument("--mebibytes", type=int, default=256, help="of a shard; default 256")
    args = parser.parse_args()
    if args.kind == "overlap":
        find_overlaps(args.pretraining, args.tests)
    elif args.kind == "shards":
        written = write_shards(args.path, args.out, args.split, args.labels, args.mebibytes)
        print(f"wrote {len(written) - 1} shards and {written[-1]}")
    elif args.check:
        manifest = check(args.kind, args.path)
        print(f"all {manifest['files']['count']:,} files are as the manifest says")
    else:
        done = prepare(args.kind, args.path, getattr(args, "partial", False))
        if done.warnings:
            print(f"recorded in the manifest:{as_lines(done.warnings)}")
        print(f"wrote {done.root / 'manifest.json'}")
        for seed in getattr(args, "low_shot", []):
            print(*(f"wrote {path}" for path in write_low_shot(done.root, seed)), sep="\n")


if __name__ == "__main__":
    with user_errors():
        main()
