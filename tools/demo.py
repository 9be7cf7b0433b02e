#!/usr/bin/env python
"""The main job on shipped real images: pretrain a tiny SemAIM, see what it learnt."""

import argparse
from pathlib import Path

from rich.console import Console

from semaim_mm.data.sample import build_sample_data, default_sample_path
from semaim_mm.report.learning import compare, table, verdicts
from semaim_mm.report.order_figure import write_order_figures
from semaim_mm.runtime.launch import user_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/demo"))
    out = parser.parse_args().out
    console = Console()
    console.rule("sample data")
    sample = build_sample_data(default_sample_path(), log=console.print)
    console.rule("pretraining and its transfer, one seed")
    rows = ("SemAIM", "raster order", "random init", "raw pixels")
    tasks = ("k-NN", "linear", "finetune")
    found = compare(out, [0], rows, tasks, console.print)
    console.rule("what came out")
    console.print(table(found))
    console.print(*verdicts(found), sep="\n")
    console.print("One seed shows no difference below its spread; see tools/learning_check.py.")
    checkpoint = out / "seed0" / "semaim" / "epoch_1.pth"
    pictures = sorted((sample / "pretrain_val").glob("*.jpg"))[:4]
    figures = write_order_figures(checkpoint, pictures, out=out / "orders")
    console.print("\nFiles written:")
    for path in (checkpoint, *sorted(out.glob("**/result.json")), *figures):
        console.print(f"  {path}")


if __name__ == "__main__":
    with user_errors():
        main()
