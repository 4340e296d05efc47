"""Signs of life for work that takes a while: on standard error, on a terminal, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from briefcase.edges.cli.late import rich_console, rich_progress


@contextmanager
def working(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs.

    Args:
        what: the word before the bar.

    Yields:
        A function to call with how much is done and how much there is; until then the bar only moves.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TimeElapsedColumn(),
    )
    with rich_progress.Progress(*columns, console=rich_console.Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(
            task, description=f"{what} {done:,} of {total:,}", completed=done, total=total
        )
