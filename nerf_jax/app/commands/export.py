"""``run.py export``: a scene's surface, points on it and its cameras, as files."""

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nerf_jax.app import trained
from nerf_jax.app.commands.options import MISSING, OUTPUT, parse, tyro
from nerf_jax.app.mesh import LIMITS, export_scene
from nerf_jax.app.progress import Progress, say
from nerf_jax.app.runs import Run
from nerf_jax.config import ExportConfig


@dataclass(frozen=True)
class ExportArgs:
    """Take a scene out of a run: a mesh with colours, coloured points, and the cameras."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    output: Annotated[Path | None, OUTPUT] = None
    """The folder for the files. [default: RUN/export]"""
    export: Annotated[ExportConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=ExportConfig
    )


def export(arguments: list[str]) -> int:
    """Run the command."""
    args = parse(ExportArgs, arguments, ExportArgs(MISSING))
    scene = trained.load(Run(args.run))
    with contextlib.ExitStack() as stages:
        current: list[tuple[str, Progress]] = []

        def tell(stage: str, done: int, total: int) -> None:
            if not current or current[-1][0] != stage:
                stages.close()
                current.append((stage, stages.enter_context(Progress(stage, total))))
            current[-1][1].update(done, "")

        written = export_scene(scene, args.export, args.output or args.run / "export", tell=tell)
    say(LIMITS)
    for path in written:
        say("  ", path)
    return 0
