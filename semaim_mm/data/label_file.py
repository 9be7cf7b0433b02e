"""A label file, one image a line: every fault named with its line before training starts."""

from collections.abc import Sequence
from pathlib import Path

from semaim_mm.errors import InputError


def check_label_file(path: str, folder: Path, with_label: bool, classes: Sequence[str]) -> None:
    """Read ``path`` ('name label' a line, or 'name' alone without labels) and check every line.

    Args:
        classes: their number bounds the labels; empty where it is not known.

    Raises:
        InputError: no such file, no text, no line, a line of another form, a label out of range,
            an image that is not in ``folder``, an image named twice.
    """
    if not Path(path).is_file():
        raise InputError(f"There is no label file at {path}; check the data set's ann_file.")
    try:
        lines = Path(path).read_text().splitlines()
    except ValueError as error:
        raise InputError(
            f"The label file {path} is no text ({error}); save it as UTF-8."
        ) from error
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        fault, name = _fault_of(line.strip(), folder, with_label, len(classes))
        if fault is None and name in seen:
            fault = f"names {name} again, after line {seen[name]}"
        if fault is not None:
            raise InputError(f"Line {number} of {path} {fault}; mend the line ({line[:80]!r}).")
        seen[name] = number
    if not lines:
        raise InputError(f"The label file {path} is empty; check the data set's ann_file.")


def _fault_of(line: str, folder: Path, with_label: bool, classes: int) -> tuple[str | None, str]:
    name = line
    if with_label:
        name, _, label = line.rpartition(" ")
        name = name.strip()
        if not name or not _is_label(label):
            return "is not an image name, a space and a label of 0 or more", name
        if classes and int(label) >= classes:
            return f"has label {label}, but there are {classes} classes, from 0", name
    if not name:
        return "names no image", name
    if not _is_file(folder / name):
        return f"names {name}, which is not in {folder}", name
    return None, name


def _is_label(text: str) -> bool:
    # isdigit alone takes superscripts too, and int() refuses thousands of digits
    return text.isascii() and text.isdigit() and len(text) < 20


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for any file
        return False
