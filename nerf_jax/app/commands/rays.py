"""``run.py rays``: write a split as a ray dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import numpy as np

from nerf_jax import config as configs
from nerf_jax import data
from nerf_jax.app.commands.options import MISSING, parse, peek, tyro
from nerf_jax.app.progress import say, say_notes
from nerf_jax.config import Config


@dataclass(frozen=True)
class RaysArgs:
    """Write a split as a ray dataset: the origin, direction and colour of each pixel's ray."""

    settings: Annotated[Config, tyro.conf.arg(name="")]
    out: tyro.conf.Positional[Path]
    """The file to write, such as rays/train.npz."""
    config: str = "bricks.py"
    """The config file of the data: a path, or the name of a packaged one."""
    split: str = "train"
    """The split to write."""


def rays(arguments: list[str]) -> int:
    """Run the command."""
    name = peek(arguments).config
    base = configs.load(name, jax.default_backend())
    args = parse(RaysArgs, arguments, RaysArgs(base, MISSING, name))
    scene = data.load(args.settings.data)
    say_notes(scene.notes)
    split = scene.split(args.split)
    data.save_rays(args.out, split, args.settings.data.background)
    count = int(np.prod(split.dataset.pixels.shape[:3]))
    say(f"{args.out}: {count:,} rays of {len(split.names)} images")
    return 0
