"""Scenes in the format of the NeRF paper's Blender scenes.

A folder holds ``transforms_{train,val,test}.json``, those that exist, each with
``camera_angle_x`` (the horizontal field of view in radians) and ``frames``: for each image a
``file_path``, with or without ``.png``, and a 4x4 ``transform_matrix``, which is
``world_from_camera`` in the axes that this package uses throughout.
"""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerf_jax.cameras import resize
from nerf_jax.config import DataConfig
from nerf_jax.data.images import read_images
from nerf_jax.data.scene import Scene, Split
from nerf_jax.types import Cameras, Dataset

SPLITS = ("train", "val", "test")

# Rotations are written with 6 to 16 digits; what is further off than this is no rotation.
_ROTATION_TOLERANCE = 1e-3
# Exporters leave a little of an object's scale in the matrix; rays are normalised anyway.
_SCALE_TOLERANCE = 0.05


def load(root: Path, config: DataConfig) -> Scene:
    """The scene in the folder ``root``; its files are read when a split is asked for.

    Raises:
        ValueError: the folder is missing, or holds no transforms file. Reading a split raises it
            too, for anything in the files that is not as it should be.
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
    """The files of the Blender scene in ``root``, by split; none if there is no such scene."""
    paths = {split: transforms_path(root, split) for split in SPLITS}
    return {split: path for split, path in paths.items() if path.is_file()}


def transforms_path(root: Path, split: str) -> Path:
    """Where the cameras of a split are listed."""
    return root / f"transforms_{split}.json"


def _read_split(path: Path, config: DataConfig) -> Split:
    angle, image_paths, world_from_camera = _read_transforms(path)
    pixels, (height, width) = read_images(image_paths, config.downscale)
    count = len(image_paths)
    near, far = config.bounds(2.0, 6.0)
    focal = 0.5 * width / math.tan(0.5 * angle)
    cameras = Cameras(
        world_from_camera=world_from_camera,
        focal=np.full((count, 2), focal, np.float32),
        principal=np.tile(np.array([width / 2, height / 2], np.float32), (count, 1)),
        near=np.full(count, near, np.float32),
        far=np.full(count, far, np.float32),
    )
    dataset = Dataset(resize(cameras, 1 / config.downscale), pixels)
    return Split(dataset, names=tuple(image.stem for image in image_paths))


def _read_transforms(path: Path) -> tuple[float, list[Path], Float[np.ndarray, "N 3 4"]]:
    """The field of view, the images and the poses that a transforms file lists."""
    try:
        transforms = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # bad UTF-8 is a ValueError as well
        raise ValueError(
            f"{path}: is not JSON ({error}); copy or download the file again"
        ) from error
    if not isinstance(transforms, dict):
        raise ValueError(f"{path}: expected a JSON object, found {_shorten(transforms)}")
    angle = _number(transforms.get("camera_angle_x"))
    if not 1e-3 <= angle <= 3.14:  # also when it is nan
        raise ValueError(
            f"{path}: camera_angle_x must be the horizontal field of view in radians, between "
            f"0.001 and 3.14, but is {_shorten(transforms.get('camera_angle_x'))}"
        )
    frames = transforms.get("frames")
    if not isinstance(frames, list) or not frames:
        raise ValueError(
            f"{path}: frames must be a list of at least one frame, but is {_shorten(frames)}"
        )
    wheres = [f"{path}: frames[{index}]" for index in range(len(frames))]
    images = [_image_path(frame, path, where) for frame, where in zip(frames, wheres, strict=True)]
    poses = [_pose(frame, where) for frame, where in zip(frames, wheres, strict=True)]
    return angle, images, np.stack(poses)


def _image_path(frame: Any, transforms: Path, where: str) -> Path:
    if not isinstance(frame, dict):
        raise ValueError(f"{where} must be an object, but is {_shorten(frame)}")
    name = frame.get("file_path")
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"{where}.file_path must be the image's path from the scene's folder, such as "
            f"'./train/r_0', but is {_shorten(name)}"
        )
    known = name.lower().endswith((".png", ".jpg", ".jpeg"))
    return transforms.parent / (name if known else f"{name}.png")


def _pose(frame: dict[str, Any], where: str) -> Float[np.ndarray, "3 4"]:
    """``world_from_camera`` of a frame, once it is sure to be one."""
    where = f"{where}.transform_matrix"
    matrix = _matrix(frame.get("transform_matrix"), where)
    rotation = matrix[:3, :3]
    gram = rotation.T @ rotation
    scale = math.sqrt(np.trace(gram) / 3)
    if (
        abs(scale - 1) > _SCALE_TOLERANCE
        or np.abs(gram / scale**2 - np.eye(3)).max() > _ROTATION_TOLERANCE
        or np.linalg.det(rotation) < 0
    ):
        raise ValueError(
            f"{where} must rotate without scaling, shearing or mirroring: its upper left 3x3, "
            f"times its transpose, should be the identity, but {_shorten(rotation.tolist())} is "
            "not; export the cameras with unit scale"
        )
    return matrix[:3].astype(np.float32)


def _matrix(rows: Any, where: str) -> Float[np.ndarray, "4 4"]:
    """Four rows of four finite numbers, the last of them 0, 0, 0, 1."""
    lists = rows if isinstance(rows, list) else []
    if [len(row) if isinstance(row, list) else 0 for row in lists] != [4] * 4:
        raise ValueError(f"{where} must be four rows of four numbers, but is {_shorten(rows)}")
    matrix = np.array([[_number(value) for value in row] for row in rows])
    right = np.abs(matrix) <= np.finfo(np.float32).max  # and not nan
    if not right.all():
        i, j = np.argwhere(~right)[0]
        raise ValueError(
            f"{where}[{i}][{j}] must be a finite number, but is {_shorten(rows[i][j])}"
        )
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f"{where}[3] must be [0, 0, 0, 1], but is {rows[3]}")
    return matrix


def _number(value: Any) -> float:
    """A JSON number as a float; nan for whatever else was found, or is too large."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _shorten(value: Any) -> str:
    """A JSON value as an error message can hold it."""
    if value is None:
        return "missing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
