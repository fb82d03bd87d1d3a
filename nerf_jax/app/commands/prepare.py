"""``run.py prepare``: from photos or a video to a scene with cameras."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from nerf_jax.app.commands.options import MISSING, OUTPUT, parse, tyro
from nerf_jax.app.prepare import Settings, prepare_scene
from nerf_jax.app.progress import say


@dataclass(frozen=True)
class PrepareArgs:
    """Find the cameras of photos with COLMAP, and write a scene to train on."""

    photos: tyro.conf.Positional[Path]
    """A folder of photos, or a video."""
    output: Annotated[Path, OUTPUT]
    """The scene's folder. A run on the same photos that was interrupted is continued."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)


def prepare(arguments: list[str]) -> int:
    """Run the command."""
    args = parse(PrepareArgs, arguments, PrepareArgs(MISSING, MISSING))
    prepare_scene(args.photos, args.output, args.settings)
    say("files:")
    for name in ("cameras.png", "transforms.json", "sparse_points.ply", "prepare.json"):
        say("  ", args.output / name)
    say(f"train with: run.py --config capture.py --data.root {args.output}")
    return 0
