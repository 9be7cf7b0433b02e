#!/usr/bin/env python
"""Count how often the leaderboard's intervals hold the score expected of another test set of as
many images, and that on endless images, on synthetic sets where both are known; exit 1 if any 95 %
interval holds the former in less than 93 or more than 97 of 100 cases."""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from semaim_mm.leaderboard import coverage
from semaim_mm.report.provenance import hardware, versions
from semaim_mm.runtime.launch import user_errors

# name -> population, metric, images, repetitions, resamples
SCENARIOS = {
    "top1 of 35 %, 900 images": (lambda: coverage.classifier(0.35), "top1", 900, 2000, 1000),
    "top1 of 84 %, 5,000 images": (lambda: coverage.classifier(0.84), "top1", 5000, 2000, 1000),
    "paired difference in top1, 900 images": (
        lambda: coverage.two_classifiers(0.6, 0.02),
        "top1",
        900,
        2000,
        1000,
    ),
    "mIoU, 20 classes, 500 images": (lambda: coverage.segmenter(20, 4), "mIoU", 500, 2000, 1000),
    "mIoU, 150 classes, 2,000 images": (
        lambda: coverage.segmenter(150, 8),
        "mIoU",
        2000,
        1000,
        1000,
    ),
    "box AP, 3 classes, 300 images": (lambda: coverage.detector(3, 3.0), "mAP", 300, 1500, 1000),
    "box AP, 30 classes, 1,000 images": (
        lambda: coverage.detector(30, 6.0),
        "mAP",
        1000,
        600,
        1000,
    ),
}
SEEDS = (3, 5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/measured/coverage.json"))
    parser.add_argument("--only", default="", help="scenarios whose name has this in it")
    parser.add_argument("--share", type=float, default=1.0, help="of the repetitions")
    args = parser.parse_args()
    found = {}
    for name, (build, metric, images, repetitions, resamples) in SCENARIOS.items():
        if args.only in name:
            start, number = time.monotonic(), max(2, round(args.share * repetitions))
            row = coverage.coverage(build(), metric, images, number, resamples)
            counts = dict(images=images, repetitions=number, resamples=resamples)
            found[name] = row | counts | dict(seconds=round(time.monotonic() - start, 1))
            print(
                f"{name}: {100 * row['covered']:.1f} % hold the score expected of such a test set, "
                f"{100 * row['covered_population']:.1f} % that on endless images",
                flush=True,
            )
    for seeds in SEEDS:
        name = f"t over {seeds} seeds"
        if args.only in name:
            number = max(2, round(args.share * 4000))
            found[name] = coverage.seed_coverage(seeds, number) | dict(repetitions=number)
            print(f"{name}: {100 * found[name]['covered']:.1f} % hold the mean", flush=True)
    record = dict(
        coverage=found,
        date=datetime.now(UTC).date().isoformat(),
        command=" ".join(["python tools/coverage_simulation.py", *sys.argv[1:]]),
        versions=versions() | {name: version(name) for name in ("scipy", "pycocotools")},
        hardware=hardware(1),
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written: {args.out}")
    off = [name for name, row in found.items() if not 0.93 <= row["covered"] <= 0.97]
    for name in off:
        print(f"{name}: NOT 93 to 97 %")
    return int(bool(off))


if __name__ == "__main__":
    with user_errors():
        sys.exit(main())
