"""``run.py render``: a way around or past the scene of a run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nerf_jax import trained
from nerf_jax.commands.options import MISSING, parse, tyro
from nerf_jax.config import RenderConfig
from nerf_jax.film import film
from nerf_jax.progress import say
from nerf_jax.runs import Run


@dataclass(frozen=True)
class RenderArgs:
    """Render a turn around the scene of a run: video and stills, colour and depth."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    render: Annotated[RenderConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RenderConfig
    )


def render(arguments: list[str]) -> int:
    """Run the command."""
    run = Run(parse(RenderArgs, arguments, RenderArgs(MISSING)).run)
    config = run.config()
    args = parse(RenderArgs, arguments, RenderArgs(run.folder, config.render))
    if not args.render.num_frames:
        raise ValueError("--num-frames is 0: nothing to render")
    for path in film(trained.load(run, dataclasses.replace(config, render=args.render))):
        say("  ", path)
    return 0
