"""Progress of a sweep: a line on the terminal between chunks of runs, never inside of the compiled program."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(shown: bool, total: float) -> Iterator[Callable[[float], None]]:
    """A function that is told how much of the total was done since the last time."""
    if not shown:
        yield lambda done: None
        return
    from rich.progress import Progress

    # Its own thread would redraw it ten times a second.
    with Progress(transient=True, auto_refresh=False) as bar:
        task = bar.add_task("compare", total=total)
        yield lambda done: bar.update(task, advance=done, refresh=True)
