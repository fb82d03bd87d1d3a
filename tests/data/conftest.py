"""A Blender scene small enough to write for each test."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerf_jax.cameras import look_at

HEIGHT, WIDTH, ANGLE = 4, 6, 0.7

WriteScene = Callable[..., dict[str, np.ndarray]]


def write_scene(
    root: Path, splits: Sequence[str] = ("train", "val"), count: int = 3, channels: int = 4
) -> dict[str, np.ndarray]:
    """Write a scene into ``root``: what is returned are the images of each split."""
    random = np.random.default_rng(7)
    images = {}
    for split in splits:
        (root / split).mkdir(parents=True, exist_ok=True)
        shape = (count, HEIGHT, WIDTH, channels)
        images[split] = random.integers(0, 256, shape, np.uint8)
        frames = []
        for index, pixels in enumerate(images[split]):
            Image.fromarray(pixels).save(root / split / f"r_{index}.png")
            origin = random.normal(size=3) + np.array([4.0, 0.0, 1.0])
            pose = look_at(origin, np.zeros(3), np.array([0.0, 0.0, 1.0])).tolist()
            frames.append(
                {
                    "file_path": f"./{split}/r_{index}",
                    "transform_matrix": [*pose, [0.0, 0.0, 0.0, 1.0]],
                }
            )
        transforms = {"camera_angle_x": ANGLE, "frames": frames}
        (root / f"transforms_{split}.json").write_text(json.dumps(transforms))
    return images


@pytest.fixture(name="write_scene")
def write_scene_fixture() -> WriteScene:
    return write_scene
