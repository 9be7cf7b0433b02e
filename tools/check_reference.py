#!/usr/bin/env python
"""Compare this implementation with tensors that the authors' code wrote; exit 1 past tolerance."""

import argparse
import sys

from semaim_mm.interop.reference import Reference
from semaim_mm.runtime.launch import user_errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help=".npz from the authors' code")
    failed = 0
    for path in parser.parse_args().files:
        print(f"{path}\n{'quantity':<48} {'largest error':>14} {'tolerance':>10}")
        for row in Reference(path).rows():
            verdict = "" if row.passed else "  FAILED"
            print(f"{row.name:<48} {row.error:>14.1e} {row.tolerance:>10.0e}{verdict}")
            failed += not row.passed
    print(f"{failed} quantities past tolerance" if failed else "all quantities within tolerance")
    return int(failed > 0)


if __name__ == "__main__":
    with user_errors():
        sys.exit(main())
