#!/usr/bin/env python
"""Train the tiny model under random kills, worker deaths, full disks and stops; compare the end.

Exits with 1 where a training did not end bit by bit as the undisturbed one did.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from semaim_mm.runtime.launch import user_errors
from semaim_mm.runtime.reliable.soak import Soak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the faults and their moments")
    parser.add_argument("--out", help="an empty folder to keep; default: one that is removed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = Soak(args.out or Path(temporary, "soak"), args.minutes, args.seed).run()
    print(json.dumps(found, indent=1))
    if found["equal"] != found["trainings"]:
        sys.exit(1)


if __name__ == "__main__":
    with user_errors():
        main()
