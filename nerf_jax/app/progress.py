"""Progress of long computations: a live line on a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from nerf_jax.data.files import optional_import

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 5.0


def say(*words: object) -> None:
    """Print a line and flush it: a pipe shows it at once."""
    print(*words, flush=True)


def say_notes(lines: Iterable[str]) -> None:
    """Print lines that belong to the last one, indented."""
    for line in lines:
        say(f"  {line}")


def say_error(message: str) -> None:
    """Print one line to standard error."""
    print(f"error: {message}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as text: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if not math.isfinite(seconds):
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """A line that is updated in place on a terminal, and printed at intervals anywhere else.

    Args:
        label: the name of the computation.
        total: the number of its items.
    """

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total = label, total
        self._last_line = -math.inf
        self._live: Any = None
        if sys.stdout.isatty():
            rich = optional_import("rich.progress", "rich")
            self._live = rich.Progress(
                rich.TextColumn("{task.description}", markup=False),
                rich.BarColumn(bar_width=20),
                rich.TextColumn("{task.fields[text]}", markup=False),
            )
            self._task = self._live.add_task(label, total=total, text="")

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, done: int, text: str) -> None:
        """Show the number of items done, and a text."""
        if self._live:
            self._live.update(self._task, completed=done, text=text)
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES or done >= self._total:
            self._last_line = now
            say(f"{self._label} {done}/{self._total}  {text}")


def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """The items, with their progress and the estimated time of the rest."""
    start = time.monotonic()
    with Progress(label, total) as progress:
        for done, item in enumerate(items):
            if done:
                rest = (time.monotonic() - start) / done * (total - done)
                progress.update(done, f"ETA {duration(rest)}")
            yield item
        progress.update(total, f"took {duration(time.monotonic() - start)}")
