#!/usr/bin/env python
"""Draw what a detector or segmenter predicts, beside the ground truth: one PNG an image."""

import argparse

from mmengine.config import DictAction

from semaim_mm.report.prediction_figure import write_prediction_figures
from semaim_mm.runtime.launch import user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("checkpoint", help="of the whole model; 'random' for an untrained one")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="of the test, validation or training set, which have its ground truth, or any other",
    )
    parser.add_argument("--out", metavar="DIR", help="default: predictions beside the checkpoint")
    parser.add_argument("--score-thr", type=float, default=0.3, help="of boxes that are drawn")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    for path in write_prediction_figures(
        args.config, args.checkpoint, args.images, args.out, args.score_thr, args.cfg_options
    ):
        print(path)


if __name__ == "__main__":
    with user_errors():
        main()
