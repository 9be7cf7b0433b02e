#!/usr/bin/env python
"""Write a teacher's features of fixed crops, once, for a leaf whose target is a CachedTarget.

--measure ROUNDS compares the time of a training step with and without them instead, --verify hashes
those that are there.
"""

import argparse

from mmengine.config import DictAction

from semaim_mm.bench.teacher_cache import measure
from semaim_mm.pretrain.write_cache import DTYPES, verify_cache, write_cache
from semaim_mm.runtime.launch import load_config, user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float16")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--measure", type=int, metavar="ROUNDS")
    other.add_argument("--verify", action="store_true", help="of features that were copied, say")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    cfg = load_config(args.config, args.cfg_options)
    if args.measure:
        print(measure(cfg, args.measure))
        return
    index, folder = verify_cache(cfg) if args.verify else write_cache(cfg, args.dtype)
    print(f"{index['count']} images, {len(index['shards'])} shard(s) in {folder}")


if __name__ == "__main__":
    with user_errors():
        main()
