"""How far a long count has come: a bar in a terminal, a line now and then in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 30.0  # seconds between the lines of a log


@contextmanager
def counting(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """-> a function that is told how many more are done, shown on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console, text, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda count: progress.advance(task, count)


def _lines(console: Console, text: str, total: int) -> Callable[[int], None]:
    done, said = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        if time.monotonic() - said >= EVERY:
            said = time.monotonic()
            console.print(f"{text}: {done:,} of {total:,}", markup=False, soft_wrap=True)

    return advance
