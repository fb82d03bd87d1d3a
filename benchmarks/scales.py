"""Views smaller than the training images: the hash grid evaluated at points, and on cones.

    python benchmarks/scales.py --steps 1000

The built-in scene is trained on images of 128x128, or on those and their halves, quarters and
eighths with the same number of rays of each size, and scored on held-out views of all four sizes,
reduced by averaging areas. Prints a table, and writes ``benchmarks/results/scales.json``.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from record import write_record
from trial import Trial

from nerf_jax import config as configs
from nerf_jax import data
from nerf_jax.cameras import cast_image_rays
from nerf_jax.config import Config
from nerf_jax.types import Dataset, RayTable

FACTORS = (1, 2, 4, 8)
SIDE = 16
"""Side of the squares that images are cut into, so that one table of rays holds all sizes."""


def shrunk(config: Config, split: str, factor: int) -> Dataset:
    small = replace(config.data, downscale=config.data.downscale * factor)
    return data.load(small).split(split).dataset


def squares(images: np.ndarray) -> np.ndarray:
    count, height, width, channels = images.shape
    cut = images.reshape(count, height // SIDE, SIDE, width // SIDE, SIDE, channels)
    return cut.swapaxes(2, 3).reshape(-1, SIDE, SIDE, channels)


def of_all_sizes(config: Config) -> Dataset:
    """The training images of all sizes, small ones repeated to the same number of rays."""
    parts = []
    for factor in FACTORS:
        pictures = shrunk(config, "train", factor)
        cameras, pixels = pictures.cameras, pictures.pixels
        count, height, width, _ = pixels.shape
        rays = jax.vmap(cast_image_rays, (None, 0, None))(
            cameras, np.arange(count), (height, width)
        )
        images = np.asarray(rays.origin), np.asarray(rays.direction), pixels
        parts.append([np.tile(squares(image), (factor**2, 1, 1, 1)) for image in images])
    origin, direction, pixels = map(np.concatenate, zip(*parts, strict=True))
    bounds = (np.full(len(pixels), limit, np.float32) for limit in config.data.bounds(2.0, 6.0))
    return Dataset(RayTable(origin, direction, *bounds), pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="of training, per variant")
    args = parser.parse_args()
    base = configs.load("bricks.py", "cpu")
    base = replace(base, train=replace(base.train, num_steps=args.steps, max_seconds=None))
    rows = []
    for learned, pictures in (("128", None), ("128, 64, 32, 16", of_all_sizes(base))):
        for footprint in ("point", "cone"):
            config = replace(base, model=replace(base.model, footprint=footprint))
            trial = Trial(config, steps_per_call=40, pictures=pictures)
            trial.train(float("inf"), args.steps)
            row = {"learned": learned, "footprint": footprint, "psnr": []}
            for factor in FACTORS:
                trial.held_out = jax.device_put(shrunk(base, "val", factor))
                row["psnr"].append(float(np.mean(trial.psnrs(range(8)))))
            print(row, flush=True)
            rows.append({**row, "steps": trial.step})
    sizes = [128 // factor for factor in FACTORS]
    write_record(Path(__file__), {"sizes": sizes, "rows": rows}, {})


if __name__ == "__main__":
    main()
