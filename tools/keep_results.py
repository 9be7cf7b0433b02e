#!/usr/bin/env python
"""A suite's results without weights, an archive a method and seed, and back on another machine.

FOLDER gets the archives of what is finished, anew where one there holds anything else; --restore
unpacks those in it into the suite's folder.
"""

import argparse
from pathlib import Path

from semaim_mm.runtime.launch import user_errors
from semaim_mm.suite.keep import keep, restore, uncounted
from semaim_mm.suite.spec import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec")
    parser.add_argument("folder")
    parser.add_argument("--restore", action="store_true", help="from archives to the suite")
    args = parser.parse_args()
    spec = read_spec(args.spec)
    passed_over: list[Path] = []
    there = set(Path(args.folder).glob("*"))
    if args.restore:
        done, passed_over = restore(spec, args.folder)
    else:
        done = keep(spec, args.folder)
    told = f"unpacked into {spec.folder}" if args.restore else "written"
    for path in passed_over:
        print(f"{path}: passed over, as {spec.folder} has something of its method and seed already")
    for path in done:
        anew = " anew: it held other results" if path in there and not args.restore else ""
        print(f"{path}: {told}{anew}")
    print(f"{len(done)} archive(s) {told}.")
    for path in uncounted(spec, [*done, *passed_over]) if args.restore else ():
        print(
            f"{path}: does not count here yet, as its data, its config or a file that it reads is "
            f"absent or another; python tools/transfer.py {args.spec} --dry-run names the stages."
        )


if __name__ == "__main__":
    with user_errors():
        main()
