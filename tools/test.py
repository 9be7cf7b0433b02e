#!/usr/bin/env python
"""Evaluate a checkpoint under a config's protocol; writes result.json for the tables."""

import argparse

from mmengine.config import DictAction

from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument(
        "checkpoint",
        nargs="?",
        help="path; 'random' for an untrained model; left out where the config takes no weights",
    )
    parser.add_argument("--work-dir", help="default: work_dirs/<folder>/<config>/<method>")
    parser.add_argument(
        "--method",
        help="name of the row in tables; default: checkpoint's folder, and its name if not ours",
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    args = parser.parse_args()
    result = evaluate(
        args.config, args.checkpoint, args.work_dir, args.cfg_options, args.launcher, args.method
    )
    for name, metric in result.get("metrics", {}).items():
        print(f"{name:<32} {metric['value']:8.2f} {metric['unit']}")


if __name__ == "__main__":
    with user_errors():
        main()
