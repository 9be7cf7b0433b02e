#!/usr/bin/env python
"""Train whatever the config says: a pretraining, a classifier, a detector, a segmenter."""

import argparse

from mmengine.config import DictAction

from semaim_mm.runtime.launch import build_runner, load_config, set_resume, user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--work-dir", help="default: work_dirs/<folder>/<config>")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="newest",
        help="go on from the work dir's newest checkpoint, or from the one named; 'auto' starts "
        "anew where there is none",
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    args = parser.parse_args()
    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    set_resume(cfg, args.resume)
    build_runner(cfg).train()


if __name__ == "__main__":
    with user_errors():
        main()
