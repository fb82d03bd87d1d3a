"""``run.py export``: a scene's surface, points on it and its cameras, as files; or a web page."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from nerf_jax.app import trained
from nerf_jax.app.commands.options import MISSING, OUTPUT, parse, tyro
from nerf_jax.app.mesh import LIMITATIONS, export_scene
from nerf_jax.app.page import write_page
from nerf_jax.app.progress import Progress, say
from nerf_jax.app.runs import Run
from nerf_jax.config import ExportConfig


@dataclass(frozen=True)
class ExportArgs:
    """Export the scene of a run: a coloured mesh, coloured points, cameras; or a web page."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    output: Annotated[Path | None, OUTPUT] = None
    """The folder for the files. [default: RUN/export]"""
    export: Annotated[ExportConfig, tyro.conf.arg(name="")] = field(default_factory=ExportConfig)


def export(arguments: list[str]) -> int:
    """Run the command."""
    args = parse(ExportArgs, arguments, ExportArgs(MISSING))
    scene, folder = trained.load(Run(args.run)), args.output or args.run / "export"
    if args.export.format == "html":
        say("  ", write_page(scene, folder / "scene.html", args.export.quantize))
        return 0
    bars: dict[str, Progress] = {}
    with contextlib.ExitStack() as current:

        def show(step: str, done: int, total: int) -> None:
            if step not in bars:
                current.close()  # ends the bar of the previous step
                bars[step] = current.enter_context(Progress(step, total))
            bars[step].update(done, "")

        written = export_scene(scene, args.export, folder, on_progress=show)
    say(LIMITATIONS)
    for path in written:
        say("  ", path)
    return 0
