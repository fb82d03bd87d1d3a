"""``run.py render``: videos of the scene of a run along a camera path."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from nerf_jax.app import trained
from nerf_jax.app.commands.options import MISSING, OUTPUT, parse, tyro
from nerf_jax.app.progress import say
from nerf_jax.app.runs import Run
from nerf_jax.app.video import render_video
from nerf_jax.config import RenderConfig


@dataclass(frozen=True)
class RenderArgs:
    """Render the scene of a run along a camera path. An interrupted render is continued."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    output: Annotated[Path | None, OUTPUT] = None
    """The folder for all files. [default: the run's folder]"""
    render: Annotated[RenderConfig, tyro.conf.arg(name="")] = field(default_factory=RenderConfig)


def render(arguments: list[str]) -> int:
    """Run the command."""
    run = Run(parse(RenderArgs, arguments, RenderArgs(MISSING)).run)
    config = run.config()
    args = parse(RenderArgs, arguments, RenderArgs(run.folder, render=config.render))
    folder = args.output or run.folder
    scene = trained.load(run)
    try:
        written = render_video(scene, args.render, folder=folder)
    except KeyboardInterrupt:
        say("interrupted; the rendered frames are kept, and the same command continues from them")
        raise
    for path in written:
        say("  ", path)
    return 0
