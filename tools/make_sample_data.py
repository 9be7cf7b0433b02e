"""Make the sample data set from the fetched packages: deterministic by seed, made once.

    python tools/make_sample_data.py [--out data/sample] [--seed 0] [--force]

Takes about half a minute; a second run finds everything in place and changes nothing.
"""

import argparse
import sys
import time
from pathlib import Path

from semaim_mm.data.sample import build_sample_data, default_sample_path
from semaim_mm.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=default_sample_path())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="make it anew")
    args = parser.parse_args()
    start = time.perf_counter()
    try:
        out = build_sample_data(args.out, args.seed, force=args.force, log=print)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The sample data is in {out} ({time.perf_counter() - start:.1f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
