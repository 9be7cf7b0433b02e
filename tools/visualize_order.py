#!/usr/bin/env python
"""Draw what a pretrained SemAIM predicts first: one PNG a picture, on the CPU."""

import argparse

from semaim_mm.report.order_figure import LAYOUTS, write_order_figures
from semaim_mm.runtime.launch import user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="of a pretraining: ours, or the authors' with --config")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--config", help="default: the .py beside the checkpoint")
    parser.add_argument("--out", metavar="DIR", help="default: order_figures beside the checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the orders' random draws")
    parser.add_argument("--layout", choices=LAYOUTS, default="full", help="wide: for a README")
    args = parser.parse_args()
    for path in write_order_figures(
        args.checkpoint, args.images, args.config, args.out, args.seed, args.layout
    ):
        print(path)


if __name__ == "__main__":
    with user_errors():
        main()
