"""``run.py compare``: several runs on one page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nerf_jax.app.commands.options import MISSING, OUTPUT, parse, tyro
from nerf_jax.app.progress import say
from nerf_jax.app.report import compare
from nerf_jax.app.runs import Run


@dataclass(frozen=True)
class CompareArgs:
    """Lay runs side by side on one page: scores, the same views, curves, what differs."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """The runs' folders. The first is what the others are held against."""
    output: Annotated[Path | None, OUTPUT] = None
    """The page to write. [default: compare.html beside the first run's folder]"""


def compare_runs(arguments: list[str]) -> int:
    """Run the command."""
    args = parse(CompareArgs, arguments, CompareArgs(MISSING))
    say(compare([Run(folder) for folder in args.runs], args.output))
    return 0
