"""All of a leaderboard's files, from one data model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.model import Leaderboard, as_json
from semaim_mm.leaderboard.write.csv_file import csv_text
from semaim_mm.leaderboard.write.curves import Curve
from semaim_mm.leaderboard.write.markdown import markdown
from semaim_mm.leaderboard.write.order_maps import Picture
from semaim_mm.leaderboard.write.page import page
from semaim_mm.leaderboard.write.tex import tex
from semaim_mm.report.result import replacing


def write_files(
    board: Leaderboard,
    out: str | Path,
    curves: Sequence[Curve] = (),
    pictures: Sequence[Picture] = (),
    pictures_left_out: Mapping[str, int] | None = None,
) -> list[Path]:
    """Write leaderboard.md, .csv, .json, .tex and index.html into ``out``; -> their paths.

    ``pictures_left_out``: how many more there are, by kind. The same leaderboard gives the same
    bytes. Raises InputError where ``out`` can't be written.
    """
    out = Path(out)
    texts = {
        "leaderboard.md": markdown(board),
        "leaderboard.csv": csv_text(board),
        "leaderboard.json": json.dumps(as_json(board), indent=1) + "\n",
        "leaderboard.tex": tex(board),
        "index.html": page(board, curves, pictures, pictures_left_out),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in texts.items():
            with replacing(out / name) as temporary:
                temporary.write_text(content, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(
            f"The leaderboard can't be written to {out} ({error}); name another folder with --out."
        ) from error
    return [out / name for name in texts]
