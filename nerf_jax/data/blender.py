"""Scenes in the format of the NeRF paper's Blender scenes.

A folder holds one or more of ``transforms_{train,val,test}.json``, each with ``camera_angle_x``
(the horizontal field of view in radians) and ``frames``: for each image a ``file_path``, with or
without ``.png``, and a 4x4 ``transform_matrix``, which is ``world_from_camera`` in this package's
axes.
"""

import math
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_jax.cameras import resize
from nerf_jax.config import DataConfig
from nerf_jax.data.images import SUFFIXES, read_images
from nerf_jax.data.json_fields import Fields, read_object
from nerf_jax.data.scene import Scene, Split
from nerf_jax.types import Cameras, Dataset

SPLITS = ("train", "val", "test")


def load(root: Path, config: DataConfig) -> Scene:
    """The scene in the folder ``root``; its files are read on request.

    Raises:
        ValueError: the folder does not exist, or holds no transforms file. Reading a split raises
            it for malformed files.
    """
    loaders = {split: partial(_read_split, path, config) for split, path in find(root).items()}
    if not loaders:
        names = (transforms_path(root, split).name for split in SPLITS)
        raise ValueError(
            f"{root}: {'no such folder' if not root.is_dir() else 'holds no Blender scene'}; "
            f"expected a folder with {' or '.join(names)}"
        )
    return Scene(name=root.resolve().name, source=str(root), loaders=loaders)


def find(root: Path) -> dict[str, Path]:
    """The files of the Blender scene in ``root``, by split; empty if there is none."""
    paths = {split: transforms_path(root, split) for split in SPLITS}
    return {split: path for split, path in paths.items() if path.is_file()}


def transforms_path(root: Path, split: str) -> Path:
    """The file with the cameras of a split."""
    return root / f"transforms_{split}.json"


def _read_split(path: Path, config: DataConfig) -> Split:
    angle, image_paths, world_from_camera = _read_transforms(path)
    pixels, (height, width) = read_images(image_paths, config.downscale)
    count = len(image_paths)
    near, far = config.bounds(2.0, 6.0)
    focal = 0.5 * width / math.tan(0.5 * angle)
    cameras = Cameras(
        world_from_camera=world_from_camera.astype(np.float32),
        focal=np.full((count, 2), focal, np.float32),
        principal=np.tile(np.array([width / 2, height / 2], np.float32), (count, 1)),
        near=np.full(count, near, np.float32),
        far=np.full(count, far, np.float32),
    )
    dataset = Dataset(resize(cameras, 1 / config.downscale), pixels)
    return Split(dataset, names=tuple(image.stem for image in image_paths))


def _read_transforms(path: Path) -> tuple[float, list[Path], Float[np.ndarray, "N 3 4"]]:
    """The field of view, the images and the poses in a transforms file."""
    transforms = read_object(path)
    angle = transforms.angle("camera_angle_x", "the horizontal field of view")
    frames = transforms.objects("frames", "frame")
    images = [path.parent / _image_name(frame) for frame in frames]
    return angle, images, np.stack([frame.pose() for frame in frames])


def _image_name(frame: Fields) -> str:
    expected = "be the image's path from the scene's folder, such as './train/r_0'"
    name = frame.text("file_path", expected)
    return name if name.lower().endswith(SUFFIXES) else f"{name}.png"
