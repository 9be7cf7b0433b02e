#!/usr/bin/env python
"""Convert a checkpoint between naming schemes; print what became of each key.

IN may be SemAIM's (the authors' names or mmpretrain's) or the backbone of any family that
semaim_mm.interop reads (MAE, DINO, timm, Hugging Face, CLIP, ...); its keys tell. --part backbone
writes what a config's init_cfg wants, which reads every family itself too.
"""

import argparse

from semaim_mm.errors import InputError
from semaim_mm.interop.convert import TARGETS, convert_file
from semaim_mm.runtime.launch import load_config, user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", metavar="IN", help=".pth, .pt or .safetensors of a known form")
    parser.add_argument("out", metavar="OUT", help="the suffix says the format to write")
    parser.add_argument(
        "--to", choices=TARGETS, help="default: of SemAIM's two the other one, else mmpretrain"
    )
    parser.add_argument("--part", choices=["all", "backbone"], default="all")
    parser.add_argument(
        "--ema", action="store_true", help="with --part backbone: its averaged copy"
    )
    parser.add_argument(
        "--config", help="tells the blur that the authors' names hold, where IN does not"
    )
    args = parser.parse_args()
    target = None
    if args.config:
        target = load_config(args.config).get("model", {}).get("target_generator")
        if target is None:
            raise InputError(f"{args.config} has no model.target_generator; give a pretraining's.")
    conversion = convert_file(args.source, args.out, args.to, args.part, args.ema, target)
    print("\n".join([*conversion.lines(), f"wrote {args.out}"]))


if __name__ == "__main__":
    with user_errors():
        main()
