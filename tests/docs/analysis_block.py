"""The blocks ``<!-- made: analysis NAME -->`` of docs/analysis.md, from a measurement's JSON.

measured_analysis.py writes that file. A block of what an older file has not measured is empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semaim_mm.leaderboard.intervals import over_seeds
from semaim_mm.leaderboard.write.markdown import table
from semaim_mm.leaderboard.write.text import NONE

FILE = Path(__file__).resolve().parents[2] / "docs" / "measured" / "analysis.json"
SHARE_PARTS = ("0.1", "0.3", "0.5", "0.75")  # of the patches, where a share on objects is shown
COVERED_PARTS = ("0.1", "0.3")  # with a column for every number of objects more would not fit
MAPPED = ("semantic", "multi_center", "similarity")  # what the weights can change
ORDERS = (*MAPPED, "center_out", "raster", "stochastic")


def block(what: str) -> str:
    """A name of TABLES -> that block of the page."""
    return f"{TABLES[what](json.loads(FILE.read_text()))}\n"


def _told(found: list | None, scale: float = 100, digits: int = 1, sign: str = "") -> str:
    """[value, low, high, n] -> 'value (low to high)'; ``sign``: '+' for differences."""
    if found is None:
        return NONE
    value, low, high, _ = (None if item is None else item * scale for item in found)
    text = f"{value:{sign}.{digits}f}"
    return text if low is None else f"{text} ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"


def _shown(by_part: Mapping[str, Any], parts: Sequence[str] = SHARE_PARTS) -> list[str]:
    """-> the parts that the file has: older ones have fewer."""
    return [part for part in parts if part in by_part]


def _objects(number: str) -> str:
    return f"{number} object{'' if number == '1' else 's'}"


def _about(found: dict[str, Any]) -> str:
    seeds = list(found.get("seeds", ()))
    told = f"seeds {', '.join(seeds)} (what names no seed is of the first)" if seeds else "one seed"
    whole = f"{found['minutes_in_all']:g} minutes in all, " if "minutes_in_all" in found else ""
    return (
        f"`{found['command']}`, {found['date']}: `{found['leaf']}` for {found['epochs']} epochs "
        f"of {found['pictures']} pictures ({found['minutes'][0]:g} minutes, the analyses "
        f"{found['minutes'][1]:g}; {whole}{found['device']}, torch {found['torch']}), {told}, "
        f"{found['objects']['pictures']} pictures of the detection task, "
        "`docs/measured/analysis.json`."
    )


def _training(found: dict[str, Any]) -> str:
    parts, seen = found["objects"], None
    own = next(iter(parts["share"]["epoch_0"]))
    shown, rows = _shown(parts["share"]["epoch_0"][own]), []
    for name, shares in parts["share"].items():
        tau = parts["tau"].get(f"{seen} to {name}", {}).get(own)
        row = [name.replace("_", " "), *(_told(shares[own][part]) for part in shown)]
        row += [_told(parts["distance"][name][own], 1, 2), _told(tau, 1, 2)]
        rows.append(row)
        seen = name
    header = [own, *(f"first {float(p):.0%} on an object, %" for p in shown)]
    header += ["centre to object, patches", "tau with the epoch before"]
    return table(header, rows)


def _orders(found: dict[str, Any]) -> str:
    parts = found["objects"]
    last = parts["share"][f"epoch_{found['epochs']}"]
    shown = _shown(last[ORDERS[0]])
    rows = [[o, *(_told(last[o][part]) for part in shown)] for o in ORDERS]
    rows.append(["all patches", *[_told(parts["by_chance"])] * len(shown)])
    header = ["order", *(f"first {float(part):.0%} on an object, %" for part in shown)]
    return table(header, rows)


def _several(found: dict[str, Any]) -> str:
    groups = found["objects"]["covered"]
    rows = []
    for order in ("semantic", "multi_center", "stochastic"):
        cells = [_told(by[order][part]) for by in groups.values() for part in COVERED_PARTS]
        rows.append([order, *cells])
    header = ["order"]
    for number, by in groups.items():
        words = f"{_objects(number)} ({by['semantic'][COVERED_PARTS[0]][3]})"
        header += [f"{words}: begun after {float(part):.0%}, %" for part in COVERED_PARTS]
    return table(header, rows)


def _paired(found: dict[str, Any]) -> str:
    pairs = found["objects"].get("paired")
    if not pairs:
        return ""
    shown = _shown(next(iter(pairs.values())))
    rows = [[pair, *(_told(by[part], sign="+") for part in shown)] for pair, by in pairs.items()]
    header = ["picture by picture", *(f"first {float(p):.0%} on an object, points" for p in shown)]
    return table(header, rows)


def _covered_paired(found: dict[str, Any]) -> str:
    groups = found["objects"].get("covered_paired")
    if not groups:
        return ""
    shown = _shown(next(iter(next(iter(groups.values())).values())))
    rows = []
    for number, pairs in groups.items():
        for pair, by in pairs.items():
            words = f"{pair}, {_objects(number)} ({by[shown[0]][3]})"
            rows.append([words, *(_told(by[part], sign="+") for part in shown)])
    header = ["picture by picture", *(f"begun after {float(part):.0%}, points" for part in shown)]
    return table(header, rows)


def differences(found: Mapping[str, Any]) -> dict[str, float]:
    """Kept ``paired`` and ``covered_paired`` of a seed -> their values by a row's words."""
    rows = {
        f"{pair}, first {float(part):.0%} on an object": by[part][0]
        for pair, by in found["paired"].items()
        for part in _shown(by)
    }
    return rows | {
        f"{pair}, {_objects(number)}, begun after {float(part):.0%}": by[part][0]
        for number, pairs in found["covered_paired"].items()
        for pair, by in pairs.items()
        for part in _shown(by, COVERED_PARTS)
    }


def _seeds(found: dict[str, Any]) -> str:
    seeds = {seed: differences(kept) for seed, kept in found.get("seeds", {}).items()}
    if not seeds:
        return ""
    rows = []
    for words in next(iter(seeds.values())):
        values = [by_words[words] for by_words in seeds.values()]
        over = over_seeds(values)
        cells = [f"{100 * value:+.1f}" for value in values]
        rows.append([words, *cells, _told([over.value, over.low, over.high, over.n], sign="+")])
    header = ["points", *(f"seed {seed}" for seed in seeds), "mean (95 % over seeds)"]
    return table(header, rows)


def _precision(found: dict[str, Any]) -> str:
    if "precision" not in found:
        return ""
    rows = [[name, _told(item)] for name, item in found["precision"].items()]
    drawn = "![Pictures whose peak half precision moves](images/analysis/precision.png)"
    return f"{table(['computed in', 'peak moved, % of pictures'], rows)}\n\n{drawn}"


def _generation(found: dict[str, Any]) -> str:
    kept = found.get("generation")
    if not kept:
        return ""
    errors = kept["errors"]
    names = list(next(iter(errors.values())))
    signs = {name: "+" if " minus " in name else "" for name in names}
    rows = [
        [f"{float(part):.0%}", *(_told(by[name], 1, 3, signs[name]) for name in names)]
        for part, by in errors.items()
    ]
    epochs = f"{kept['epochs']} epoch{'' if kept['epochs'] == 1 else 's'}"
    count = errors[next(iter(errors))][names[0]][3]
    told = (
        f"`{kept['command']}`, {kept['date']}: `{kept['leaf']}` for {epochs} "
        f"({kept['minutes']:g} minutes), {count} pictures. The mean squared error of the patches "
        "that were not given, in normalised pixels; the mean colour is that of the given patches, "
        "or the one that pictures are normalised by where none is:"
    )
    drawn = "![Pictures completed from their first patches](images/analysis/generation.png)"
    return f"{told}\n\n{table(['given', *names], rows)}\n\n{drawn}"


TABLES = dict(about=_about, training=_training, orders=_orders, several=_several)
TABLES |= dict(paired=_paired, covered_paired=_covered_paired, seeds=_seeds)
TABLES |= dict(precision=_precision, generation=_generation)
