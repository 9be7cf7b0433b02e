"""The leaderboard as LaTeX: booktabs tables in a document that compiles, to be cut from."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from semaim_mm.leaderboard.model import Group, Leaderboard
from semaim_mm.leaderboard.write.cost import TITLES, cost_of
from semaim_mm.leaderboard.write.overview import caveats, ordered_groups, overview
from semaim_mm.leaderboard.write.rows import (
    IN_A_TABLE,
    compared,
    labels,
    marks,
    settings,
    shown_metrics,
)
from semaim_mm.leaderboard.write.text import NONE, clean, p_value, score, span, unit_of

LONGEST = 48  # of a cell's text, but for a paragraph column's
BREAKS = "/_-,:;=&?"  # behind which a path's or an address's line may end
UNBROKEN = 24  # letters in a row at most, where lines may end
WIDEST = 6  # task columns that fit on a page
PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[landscape,margin=12mm]{geometry}
\usepackage{booktabs,longtable}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\setlength{\tabcolsep}{4pt}
\setlength{\parindent}{0pt}
\setlength{\LTcapwidth}{\linewidth}
\begin{document}
\footnotesize
"""
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    # at the beginning of a table's row these would belong to the line break before them
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    # two of these in a row would be joined into another sign
    "-": "{-}",
    ",": "{,}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "…": r"\ldots{}",
    "–": "--",
    "—": "---",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "\u202f": r"\,",
}
ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


def tex(board: Leaderboard) -> str:
    """A leaderboard -> a LaTeX document; every table in it also stands by itself."""
    parts = [PREAMBLE, rf"\section*{{Leaderboard {escape(board.suite)}}}", *_overview(board)]
    parts += _comparisons(board)
    for group in ordered_groups(board):
        parts += _group(group, board.notes.get(group.task))
    parts += _trials(board)
    parts += _published(board)
    parts += _absent(board)
    return "\n".join([*parts, r"\end{document}", ""])


def escape(text: object, longest: int = LONGEST) -> str:
    """Any text -> LaTeX that shows it; characters that T1 fonts lack become their code points."""
    return "".join(map(_letter, clean(text, longest)))


def whole(text: object) -> str:
    """Any text, however long -> LaTeX that shows all of it in a paragraph column, line by line."""
    found, run = [], 0
    for character in clean(text):
        found.append(_letter(character))
        run = 0 if character == " " else run + 1
        if character in BREAKS or run == UNBROKEN:
            found.append(r"\allowbreak{}")
            run = 0
    # a group with its own end of paragraph: what ends a table's row is left as it is
    return rf"{{\raggedright {''.join(found)}\par}}"


def table(
    caption: str, header: Sequence[object], rows: Iterable[Sequence[object]], form: str
) -> str:
    """Cells of any text -> a longtable. ``form``: 'l', 'r' or 'p{3cm}' a column.

    A cell of a paragraph column is shown whole, one of another loses its middle if it is long; one
    of the header that is a tuple has a line for each of its parts.
    """
    shown = [whole if kind == "p" else escape for kind in re.sub(r"\{.*?\}", "", form)]
    told = [
        " & ".join(show(cell) for show, cell in zip(shown, line, strict=True)) + r" \\"
        for line in rows
    ]
    head = " & ".join(map(_heading, header)) + r" \\"
    return "\n".join(
        [
            rf"\begin{{longtable}}{{{form}}}",
            rf"\caption{{{caption}}} \\",
            rf"\toprule {head} \midrule \endhead",
            *told,
            r"\bottomrule",
            r"\end{longtable}",
        ]
    )


def _heading(cell: object) -> str:
    if not isinstance(cell, tuple):
        return escape(cell)
    lines = r"\\".join(escape(line, 16) for line in cell if line)
    return rf"\shortstack[r]{{{lines}}}"


def _letter(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii():
        return character
    base, *accents = unicodedata.normalize("NFD", character)
    if base.isascii() and base.isalpha() and len(accents) == 1 and accents[0] in ACCENTS:
        dotless = {"i": r"\i", "j": r"\j"}.get(base, base) if accents[0] != "\u0327" else base
        return rf"\{ACCENTS[accents[0]]}{{{dotless}}}"
    return rf"\texttt{{U+{ord(character):04X}}}"


def _overview(board: Leaderboard) -> list[str]:
    found, said = overview(board), escape(caveats(board), 2000)
    caption = (
        r"Headline figures: mean over pretraining seeds $\pm$ half its 95\,\% interval. A column "
        r"is one protocol, named by its fingerprint's first digits, on one data set; nothing is "
        rf"ranked across columns. {said}"
    )
    tables = []
    for start in range(0, len(found.columns) if found.lines else 0, WIDEST):
        columns = found.columns[start : start + WIDEST]
        header = ["method", "arch", "epochs", "FLOPs"]
        header += [(c.task, *c.about.split(" · ")) for c in columns]
        rows = []
        for line in found.lines:
            epochs, _, flops, _ = line.cost.told() if line.cost else (NONE,) * 4
            told = [entry.told() for entry in line.entries[start : start + WIDEST]]
            rows.append([line.label(22), line.arch or NONE, epochs, flops, *told])
        tables.append(table(caption, header, rows, "llrr" + "r" * len(columns)))
    notes = [rf"{escape(task)}: {escape(note, 400)}\par" for task, note in board.notes.items()]
    return tables + notes


def _group(group: Group, said: str | None) -> list[str]:
    others = shown_metrics(group)[1:4]
    unit = unit_of(group.metrics[group.headline])
    header = ["", "method", "arch", *TITLES, "n", f"{group.headline} ({unit})", "sd"]
    header += ["pretraining seeds", "test images", *others]
    rows, doubts = [], []
    for row, label in zip(group.rows, labels(group.rows, 22, IN_A_TABLE), strict=True):
        cell = row.cells[group.headline]
        seeds = cell.over_pretraining
        rows.append(
            [row.rank or NONE, label, clean(row.arch, 16), *cost_of(row).told()]
            + [seeds.n, score(cell.value), score(seeds.sd), span(seeds), span(cell.over_images)]
            + [score(row.cells[name].value if name in row.cells else None) for name in others]
        )
        doubts += [f"{label}: {mark}" for mark in marks(row)]
    caption = (
        rf"\textbf{{{escape(group.task)}}}, protocol \texttt{{{escape(group.fingerprint)}}} on "
        rf"{escape(group.data)}. 95\,\% intervals over pretraining seeds, and over test images "
        "with these weights."
    )
    notes = [rf"{escape(note, 400)}\par" for note in ([said] if said else []) + doubts]
    return [table(caption, header, rows, "rllrrrrrrrrr" + "r" * len(others)), *notes]


def _trials(board: Leaderboard) -> list[str]:
    rows = []
    for item in board.trials:
        seed = NONE if item.seed is None else item.seed
        told = [clean(item.method, 24), item.task, seed, settings(item), item.metric]
        rows.append([*told, score(item.value), item.images])
    caption = (
        "Trials of the sweep, on images held out of the training set: what settings were chosen "
        "by. None of these is ranked."
    )
    header = ("method", "task", "seed", "settings", "metric", "value", "images")
    return [table(caption, header, rows, "llrp{8cm}lrr")] if rows else []


def _comparisons(board: Leaderboard) -> list[str]:
    if not board.comparisons:
        return []
    header = ("first", "second", "task", "protocol", "metric", "difference", "pretraining seeds")
    header += ("test images", "n", "p", "corrected", "detectable")
    rows, verdicts = [], []
    for item in board.comparisons:
        seeds = item.over_pretraining
        told = [clean(compared(item), 44), clean(item.second, 20), item.task or NONE]
        told += [item.fingerprint[:8] or NONE, item.metric or NONE]
        told += [score(seeds.value if seeds else None, sign=True)]
        told += [span(seeds, sign=True), span(item.over_images, sign=True), len(item.pairs)]
        told += [p_value(item.p), p_value(item.corrected), score(item.detectable)]
        rows.append(told)
        verdicts.append(rf"{escape(item.verdict, 400)}\par")
    caption = (
        r"Declared comparisons, paired over pretraining seeds; $p$ corrected after Holm over "
        "all declared tests, also those without results yet. Nothing else is called better."
    )
    return [table(caption, header, rows, "lllllrrrrrrr"), *verdicts]


def _published(board: Leaderboard) -> list[str]:
    rows = []
    for item in board.published:
        told = [clean(item.method, 30), item.arch, item.epochs or NONE, item.task, item.metric]
        second_hand = "second-hand" if item.second_hand else ""
        stated = item.protocol or "not stated"
        rows.append([*told, f"{item.value:g}", item.source, second_hand, stated])
    caption = "Published figures, under protocols of their own: in no ranking."
    header = ("method", "arch", "epochs", "task", "metric", "value", "source", "", "protocol")
    return [table(caption, header, rows, "llrllrp{5cm}lp{5cm}")] if rows else []


def _absent(board: Leaderboard) -> list[str]:
    rows = [[a.method, a.task, a.seed, a.kind, a.log or NONE] for a in board.absent]
    rows += [["", "", "", item.kind, item.path] for item in board.excluded]
    header = ("method", "task", "seed", "state", "log or file")
    return [table("Failed, not run, excluded.", header, rows, "llrlp{12cm}")] if rows else []
