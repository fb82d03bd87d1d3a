"""``run.py compare``: compare several runs on one page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nerf_jax.app.commands.options import MISSING, OUTPUT, parse, tyro
from nerf_jax.app.progress import say
from nerf_jax.app.report.comparison import compare
from nerf_jax.app.runs import Run


@dataclass(frozen=True)
class CompareArgs:
    """Compare runs on one page: scores, the same views, curves, differences of the configs."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """The runs' folders. The others are compared with the first."""
    output: Annotated[Path | None, OUTPUT] = None
    """The page to write. [default: compare.html next to the first run's folder]"""


def compare_runs(arguments: list[str]) -> int:
    """Run the command."""
    args = parse(CompareArgs, arguments, CompareArgs(MISSING))
    say(compare([Run(folder) for folder in args.runs], args.output))
    return 0
