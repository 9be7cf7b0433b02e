#!/usr/bin/env python
"""Measure speed and memory, ours beside a baseline in the same run; tables as Markdown and JSON.

Sizes default to what the device at hand can do in minutes: real ones on a GPU, small on a CPU.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mmengine.logging import MMLogger

import semaim_mm  # noqa: F401  (registration)
from semaim_mm.bench import costliest, dense, knn, leaderboard, loader, pretrain, scaling, teacher
from semaim_mm.bench.report import Report, Table
from semaim_mm.bench.timing import release
from semaim_mm.runtime.launch import user_errors

# of `all` where there is no GPU: enough to see that every part runs, autocast and compile included
SMALL = dict(
    pretrain=pretrain.CPU_SIZES._replace(arch="tiny", side=32, precision="bf16"),
    scaling=scaling.CPU_SIZES._replace(side=64, tokens=196, precision="bf16"),
    dense=dense.CPU_SIZES._replace(side=64, alone=4, precision="bf16"),
    knn=knn.CPU_SIZES._replace(bank=2000, queries=64, width=32),
    loader=loader.DEFAULT_SIZES._replace(images=4),
    leaderboard=leaderboard.DEFAULT_SIZES._replace(results=6, images=200),
    teacher=teacher.Sizes("configs/pretrain/semaim_tiny_clip.py", 32, 2, "bf16"),
)

SHORT_BOARD = leaderboard.Sizes(results=6, images=2000)  # seconds, where a GPU waits


def run_dense(args: argparse.Namespace) -> list[Table]:
    default = dense.GPU_SIZES if torch.cuda.is_available() else dense.CPU_SIZES
    return dense.measure(chosen(default, args), args.rounds)


def run_pretrain(args: argparse.Namespace) -> list[Table]:
    default = pretrain.GPU_SIZES if torch.cuda.is_available() else pretrain.CPU_SIZES
    return pretrain.measure(chosen(default, args), args.rounds, args.authors)


def run_teacher(args: argparse.Namespace) -> list[Table]:
    default = teacher.GPU_SIZES if torch.cuda.is_available() else teacher.CPU_SIZES
    return teacher.measure(chosen(default, args), args.rounds)


def run_knn(args: argparse.Namespace) -> list[Table]:
    default = knn.GPU_SIZES if torch.cuda.is_available() else knn.CPU_SIZES
    return knn.measure(chosen(default, args), args.rounds)


def run_loader(args: argparse.Namespace) -> list[Table]:
    return loader.measure(chosen(loader.DEFAULT_SIZES, args), args.rounds)


def run_leaderboard(args: argparse.Namespace) -> list[Table]:
    return leaderboard.measure(chosen(leaderboard.DEFAULT_SIZES, args), args.rounds)


def run_scaling(args: argparse.Namespace) -> list[Table]:
    default = scaling.GPU_SIZES if torch.cuda.is_available() else scaling.CPU_SIZES
    figure = Path(args.out, "scaling.svg") if args.out else None
    return scaling.measure(chosen(default, args), args.rounds, figure)


def run_profile(args: argparse.Namespace) -> list[Table]:
    default = pretrain.GPU_SIZES if torch.cuda.is_available() else pretrain.CPU_SIZES
    return costliest.measure(chosen(default, args), args.rounds)


def run_all(args: argparse.Namespace) -> Iterator[list[Table]]:
    """Everything that a GPU should be measured by, one part after another.

    At the subcommands' default sizes, but for the leaderboard's, which needs no GPU and comes last.
    """
    on_gpu, out = torch.cuda.is_available(), args.out
    figure = Path(out, "scaling.svg") if out else None
    parts = [
        (costliest, pretrain.GPU_SIZES if on_gpu else SMALL["pretrain"]),
        (pretrain, (pretrain.GPU_SIZES if on_gpu else SMALL["pretrain"])._replace(compile=True)),
        (
            teacher,
            (teacher.GPU_SIZES if on_gpu else SMALL["teacher"])._replace(random_teacher=True),
        ),
        (scaling, scaling.GPU_SIZES if on_gpu else SMALL["scaling"]),
        (dense, dense.GPU_SIZES if on_gpu else SMALL["dense"]),
        (knn, knn.GPU_SIZES if on_gpu else SMALL["knn"]),
        (loader, loader.DEFAULT_SIZES if on_gpu else SMALL["loader"]),
        (leaderboard, SHORT_BOARD if on_gpu else SMALL["leaderboard"]),
    ]
    more = {scaling: figure, pretrain: args.authors}
    for part, sizes in parts:
        yield part.measure(sizes, args.rounds, *([more[part]] if part in more else []))
        release()


def chosen(default: tuple, args: argparse.Namespace) -> tuple:
    """The default sizes with those that were typed."""
    typed = {name: getattr(args, name) for name in default._fields}
    return default._replace(**{name: v for name, v in typed.items() if v is not None})


def add(commands, name: str, run: Callable, help_: str, **flags: dict) -> None:
    """A subcommand with its own flags, --rounds and --out."""
    parser = commands.add_parser(name, help=help_, description=help_)
    parser.add_argument("--rounds", type=int, default=5, help="of A B A B ...; default 5")
    parser.add_argument("--out", help="folder for NAME.md and NAME.json")
    for flag, options in flags.items():
        parser.add_argument(f"--{flag.replace('_', '-')}", **options)
    parser.set_defaults(run=run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    batch = dict(type=int, help="images a step")
    precision = dict(choices=["fp32", "bf16", "fp16"])
    authors = dict(metavar="PATH", help="checkout of github.com/skyoux/SemAIM to time beside ours")
    add(
        commands,
        "dense",
        run_dense,
        "backbone and attention of detection and segmentation",
        blocks=dict(type=int, help="3, 6, 9 or 12"),
        side=dict(type=int, help="of images, in pixels; above 512 both are measured"),
        alone=dict(type=int, help="side in patches of the map for attention alone"),
        batch=batch,
        precision=precision,
    )
    add(
        commands,
        "pretrain",
        run_pretrain,
        "one SemAIM update, whole and by part",
        arch=dict(help="tiny, small, base, large or huge"),
        side=dict(type=int, help="of images, in pixels"),
        batch=batch,
        precision=precision,
        compile=dict(action="store_true", default=None, help="time ours compiled too"),
        authors=authors,
    )
    add(
        commands,
        "teacher",
        run_teacher,
        "the share of an update that a leaf's teacher takes",
        config=dict(help="a pretraining leaf that predicts features"),
        side=dict(type=int, help="of images, in pixels"),
        batch=batch,
        precision=precision,
        compile=dict(action="store_true", default=None, help="torch.compile ours"),
        random_teacher=dict(
            action="store_true", default=None, help="in place of weights that are not at hand"
        ),
    )
    add(
        commands,
        "knn",
        run_knn,
        "k-NN beside a plain matrix product of the same size",
        bank=dict(type=int, help="training images"),
        queries=dict(type=int, help="test images"),
        width=dict(type=int, help="of the features"),
    )
    add(
        commands,
        "loader",
        run_loader,
        "images/s per core beside mmpretrain's stock pipeline",
        images=dict(type=int, help="to generate"),
    )
    add(
        commands,
        "leaderboard",
        run_leaderboard,
        "its page against the number of results, and the bootstrap",
        results=dict(type=int, help="on the largest page"),
        images=dict(type=int, help="test images of each"),
    )
    add(
        commands,
        "scaling",
        run_scaling,
        "cost of an update against batch, tokens, depth and query depth; --out gets a plot too",
        width=dict(type=int, help="in channels"),
        depth=dict(type=int, help="in blocks"),
        side=dict(type=int, help="of images, in pixels"),
        batch=batch,
        tokens=dict(type=int, help="most patches of an image"),
        precision=precision,
    )
    add(
        commands,
        "profile",
        run_profile,
        "the three largest costs of one SemAIM update",
        arch=dict(help="tiny, small, base, large or huge"),
        side=dict(type=int, help="of images, in pixels"),
        batch=batch,
        precision=precision,
        compile=dict(action="store_true", default=None, help="torch.compile it"),
    )
    add(
        commands,
        "all",
        run_all,
        "every part, real sizes on a GPU, tiny on a CPU to see it run",
        authors=authors,
    )
    args = parser.parse_args()
    MMLogger.get_instance("mmengine").setLevel("WARNING")
    report = Report(args.name, shlex.join(["python", "tools/benchmark.py", *sys.argv[1:]]))
    found, paths = args.run(args), []
    for tables in [found] if isinstance(found, list) else found:
        report.tables += tables
        report.finish()
        # after every part: what was measured stays where a later one fails or is cut off
        paths = report.write(args.out) if args.out else []
    print(report.markdown())
    for path in paths:
        print(f"wrote {path}")


if __name__ == "__main__":
    with user_errors():
        main()
