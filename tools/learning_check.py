#!/usr/bin/env python
"""Pretrained against random features over several seeds on the shipped sample data; exit 1 if
pretraining taught nothing beyond the spread over seeds."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from semaim_mm.report.learning import compare, table, verdicts
from semaim_mm.report.provenance import hardware, versions
from semaim_mm.runtime.launch import user_errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many, counted from 0")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/learning_check"))
    args = parser.parse_args()
    found = compare(args.out, range(args.seeds))
    Console().print(table(found))
    found["versions"], found["hardware"] = versions(), hardware(1)
    (args.out / "learning_check.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"written: {args.out / 'learning_check.json'}")
    lines = verdicts(found)
    print(*lines, sep="\n")
    return int(any("NOT" in line for line in lines))


if __name__ == "__main__":
    with user_errors():
        sys.exit(main())
