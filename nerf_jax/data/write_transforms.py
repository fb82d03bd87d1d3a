"""Writes ``transforms.json``, in the fields that :mod:`nerf_jax.data.transforms` reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerf_jax.data.files import write_json
from nerf_jax.types import Cameras

Fields = dict[str, Any]


def pinhole_fields(
    size_hw: tuple[int, int], focal: Sequence[float], principal: Sequence[float]
) -> Fields:
    """Size, focal lengths (x, y) and principal point (x, y), all in pixels."""
    (height, width), (fx, fy), (cx, cy) = size_hw, focal, principal
    return {"w": width, "h": height, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}


def camera_fields(camera: Cameras, size_hw: tuple[int, int]) -> Fields:
    """The intrinsics of one camera (leaves without a leading axis), its lens included."""
    pinhole = pinhole_fields(size_hw, camera.focal.tolist(), camera.principal.tolist())
    if camera.lens is None:
        return {**pinhole, "camera_model": "PINHOLE"}
    radial = dict(zip(("k1", "k2", "k3", "k4"), camera.lens.radial.tolist(), strict=True))
    if camera.lens.fisheye:
        return {**pinhole, "camera_model": "OPENCV_FISHEYE", "is_fisheye": True, **radial}
    tangential = dict(zip(("p1", "p2"), camera.lens.tangential.tolist(), strict=True))
    return {**pinhole, "camera_model": "OPENCV", **radial, **tangential}


def frame_fields(
    file_path: str, world_from_camera: Float[np.ndarray, "3 4"], camera: Mapping[str, Any]
) -> Fields:
    """The fields of one photo: its path, its pose, and those of its camera that are its own."""
    matrix = [*world_from_camera.tolist(), [0.0, 0.0, 0.0, 1.0]]
    return {"file_path": file_path, "transform_matrix": matrix, **camera}


def write_transforms(
    path: Path, shared: Mapping[str, Any], frames: Sequence[Fields], *, indent: int = 2
) -> None:
    """Write the file atomically: the fields that all frames share, then the frames."""
    write_json(path, {**shared, "frames": frames}, indent)
