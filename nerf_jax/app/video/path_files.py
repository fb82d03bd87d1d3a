"""Camera paths as nerfstudio writes them: one JSON file, to be edited and flown again.

- ``camera_path``: the frames in their order. Of each, ``camera_to_world`` is ``world_from_camera``
  in this package's axes, 16 numbers row by row or four rows of four, and ``fov`` the angle from the
  bottom of the image to its top, in degrees. ``aspect`` is written and not read: the size says it.
- ``render_height`` and ``render_width`` in pixels; ``fps``, or ``seconds`` for the whole path.
- ``camera_type``, which is ``perspective``. Key frames and what else an editor keeps are not read.

The cameras stand in the frame of the dataset's files, so that a path outlives a training. That is
where nerfstudio's differ: it writes them in the world that it has turned and scaled the dataset to.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_jax.config.training import LARGEST_SIDE
from nerf_jax.data.files import atomic_write
from nerf_jax.data.json_fields import Fields, read_object
from nerf_jax.data.normalize import move
from nerf_jax.types import Cameras

_FASTEST = 1000.0


class CameraPath(NamedTuple):
    """A way to fly, and how its maker meant it to be seen."""

    cameras: Cameras
    """NumPy arrays of one for each frame, in the scene's world, for images of ``size_hw``."""
    size_hw: tuple[int, int]
    fps: float | None
    """Frames a second; None where the file says nothing."""


def read_path(
    path: Path, bounds: tuple[float, float], world_from_original: Float[np.ndarray, "4 4"]
) -> CameraPath:
    """Read a camera path.

    Args:
        path: the file.
        bounds: where rays start and end, in the scene's world: no such file says so.
        world_from_original: the similarity from the frame of the dataset's files to that world.

    Raises:
        OSError: it cannot be read.
        ValueError: a field is not as it should be; it is named, with the number of its frame.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such camera path; correct --path, or name a way to fly"
        )
    file = read_object(path)
    kind = file.values.get("camera_type")
    if kind is not None and str(kind).lower() != "perspective":
        raise file.error("camera_type", "be 'perspective'")
    frames = file.objects("camera_path", "camera")
    height, width = (_side(file, f"render_{side}") for side in ("height", "width"))
    focal = np.array([[0.5 * height / math.tan(0.5 * _fov(frame))] * 2 for frame in frames])
    near, far = (np.full(len(frames), bound, np.float32) for bound in bounds)
    cameras = Cameras(
        world_from_camera=np.stack([_pose(frame) for frame in frames]),
        focal=focal.astype(np.float32),
        principal=np.tile(np.array([width / 2, height / 2], np.float32), (len(frames), 1)),
        near=near,
        far=far,
    )
    with np.errstate(over="ignore"):  # what is too far away becomes inf, and is named
        poses = move(world_from_original, cameras).world_from_camera.astype(np.float32)
    lost = np.flatnonzero(~np.isfinite(poses).all(axis=(1, 2)))
    if len(lost):
        raise frames[lost[0]].error("camera_to_world", "be a camera within reach of float32")
    cameras = cameras._replace(world_from_camera=poses)
    return CameraPath(cameras, (height, width), _fps(file, len(frames)))


def write_path(
    path: Path,
    cameras: Cameras,
    size_hw: tuple[int, int],
    fps: float,
    world_from_original: Float[np.ndarray, "4 4"],
) -> None:
    """Write a camera path, whole or not at all: :func:`read_path` reads it back.

    Args:
        path: the file.
        cameras: one for each frame, for images of ``size_hw``. Of the intrinsics only the field of
            view from bottom to top is kept: the format knows no more.
        size_hw: height and width of the images.
        fps: frames a second.
        world_from_original: as for :func:`read_path`.
    """
    height, width = size_hw
    poses = move(np.linalg.inv(world_from_original), cameras).world_from_camera
    tall = np.degrees(2 * np.arctan(0.5 * height / np.asarray(cameras.focal, float)[:, 1]))
    frames = [
        {
            "camera_to_world": [*pose.ravel().tolist(), 0.0, 0.0, 0.0, 1.0],
            "fov": float(fov),
            "aspect": width / height,
        }
        for pose, fov in zip(poses, tall, strict=True)
    ]
    content = {
        "camera_type": "perspective",
        "render_height": height,
        "render_width": width,
        "fps": fps,
        "seconds": len(frames) / fps,
        "camera_path": frames,
        "keyframes": [],
    }
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content, indent=1) + "\n")


def _side(file: Fields, name: str) -> int:
    expected = f"be a whole number of pixels, 1 to {LARGEST_SIDE}"
    value = file.number(name, expected=expected)
    if not 1 <= value <= LARGEST_SIDE or value % 1:
        raise file.error(name, expected)
    return int(value)


def _fov(frame: Fields) -> float:
    """From bottom to top, in radians."""
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
    if not 0 < fps <= _FASTEST:
        raise file.error(name, f"be positive, and make at most {_FASTEST:g} frames a second")
    return fps


def _pose(frame: Fields) -> Float[np.ndarray, "3 4"]:
    rows: Any = frame.values.get("camera_to_world")
    if isinstance(rows, list) and len(rows) == 16:
        rows = [rows[start : start + 4] for start in range(0, 16, 4)]
    return Fields(frame.where, {"camera_to_world": rows}).pose("camera_to_world")
