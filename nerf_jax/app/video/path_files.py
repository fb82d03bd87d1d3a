"""Camera-path files in nerfstudio's JSON format.

- ``camera_path``: the frames in order. ``camera_to_world`` is ``world_from_camera`` with this
  package's camera axes, as 16 numbers row by row or as four rows of four. ``fov`` is the vertical
  field of view in degrees. ``aspect`` is ignored: it follows from the image size.
- ``render_height`` and ``render_width`` in pixels; ``fps``, or ``seconds`` for the whole path.
- ``camera_type`` must be ``perspective``. Key frames and all other fields are ignored.

In contrast to nerfstudio, whose cameras are in its own rotated and scaled world, the cameras are in
the frame of the dataset's files, so that a path is valid for every training run.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_jax.config.training import LARGEST_SIDE
from nerf_jax.data.json_fields import Fields, read_object
from nerf_jax.data.normalize import move
from nerf_jax.types import Cameras

_MAX_FPS = 1000.0


class CameraPath(NamedTuple):
    """The content of a camera-path file."""

    cameras: Cameras
    """NumPy arrays, one camera per frame, in the scene's world, for images of ``size_hw``."""
    size_hw: tuple[int, int]
    fps: float | None
    """None if the file has no frame rate."""


def read_path(
    path: Path, bounds: tuple[float, float], world_from_original: Float[np.ndarray, "4 4"]
) -> CameraPath:
    """Read a camera-path file.

    Args:
        path: the file.
        bounds: near and far of all cameras in the scene's world, which the file does not hold.
        world_from_original: the similarity from the frame of the dataset's files to that world.

    Raises:
        OSError: the file cannot be read.
        ValueError: a field is missing or invalid; the message names it and its frame.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such camera-path file; correct --path")
    file = read_object(path)
    kind = file.values.get("camera_type")
    if kind is not None and str(kind).lower() != "perspective":
        raise file.error("camera_type", "be 'perspective'")
    frames = file.objects("camera_path", "camera")
    height, width = (_side(file, f"render_{side}") for side in ("height", "width"))
    focal = np.array([[0.5 * height / math.tan(0.5 * _fov(frame))] * 2 for frame in frames])
    cameras = Cameras(
        world_from_camera=np.stack([_pose(frame) for frame in frames]),
        focal=focal.astype(np.float32),
        principal=np.tile(np.array([width / 2, height / 2], np.float32), (len(frames), 1)),
        near=np.full(len(frames), bounds[0], np.float32),
        far=np.full(len(frames), bounds[1], np.float32),
    )
    with np.errstate(over="ignore"):  # infinite positions are reported below
        poses = move(world_from_original, cameras).world_from_camera.astype(np.float32)
    overflows = np.flatnonzero(~np.isfinite(poses).all(axis=(1, 2)))
    if len(overflows):
        raise frames[overflows[0]].error("camera_to_world", "be within the range of float32")
    cameras = cameras._replace(world_from_camera=poses)
    return CameraPath(cameras, (height, width), _fps(file, len(frames)))


def _side(file: Fields, name: str) -> int:
    expected = f"be a whole number of pixels, 1 to {LARGEST_SIDE}"
    value = file.number(name, expected=expected)
    if not 1 <= value <= LARGEST_SIDE or value % 1:
        raise file.error(name, expected)
    return int(value)


def _fov(frame: Fields) -> float:
    """Vertical, in radians."""
    expected = "be a field of view in degrees, between 0.1 and 179.9"
    value = frame.number("fov", expected=expected)
    if not 0.1 <= value <= 179.9:
        raise frame.error("fov", expected)
    return math.radians(value)


def _fps(file: Fields, num_frames: int) -> float | None:
    name = next((name for name in ("fps", "seconds") if name in file), None)
    if name is None:
        return None
    value = file.number(name)
    fps = value if name == "fps" or value <= 0 else num_frames / value
    if not 0 < fps <= _MAX_FPS:
        raise file.error(name, f"be positive and give at most {_MAX_FPS:g} frames per second")
    return fps


def _pose(frame: Fields) -> Float[np.ndarray, "3 4"]:
    rows: Any = frame.values.get("camera_to_world")
    if isinstance(rows, list) and len(rows) == 16:
        rows = [rows[start : start + 4] for start in range(0, 16, 4)]
    return Fields(frame.where, {"camera_to_world": rows}).pose("camera_to_world")
