"""What is to be filmed: from where, how large and how fast."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from nerf_jax.app import camera_paths
from nerf_jax.app.trained import Trained
from nerf_jax.app.video.path_files import read_path
from nerf_jax.cameras import focus_point, reframe
from nerf_jax.config import RenderConfig
from nerf_jax.types import Cameras

FPS = 15.0
_GLANCE_ROWS = 64


class Trajectory(NamedTuple):
    """A path, ready to be flown."""

    name: str
    """Of the files made of it."""
    cameras: Cameras
    """NumPy arrays of one for each frame."""
    size_hw: tuple[int, int]
    fps: float

    @property
    def num_frames(self) -> int:
        return len(self.cameras.focal)


def make_trajectory(scene: Trained, wanted: RenderConfig, path: Cameras | None) -> Trajectory:
    """The shot that is wanted: ``path`` if it is given, else what ``wanted.path`` names.

    Raises:
        OSError, ValueError: as :func:`nerf_jax.app.video.render_video`.
    """
    fps = FPS if wanted.fps is None else wanted.fps
    is_file = path is None and wanted.path.endswith(".json")
    if not is_file and not (wanted.num_frames if path is None else len(path.focal)):
        raise ValueError("render.num_frames is 0: nothing to render; ask for some")
    if path is not None:
        given = jax.tree.map(np.asarray, path)
        return Trajectory("path", given, frame_size(scene, wanted), fps)
    if not is_file:
        size_hw = frame_size(scene, wanted)
        cameras = reframe(_fly(scene, wanted), scene.size_hw, size_hw)
        return Trajectory(wanted.path, cameras, size_hw, fps)
    train = scene.cameras()
    bounds = float(np.mean(train.near)), float(np.mean(train.far))
    read = read_path(Path(wanted.path), bounds, scene.all_cameras.world_from_original)
    size_hw = _shrunk(wanted, wanted.size or read.size_hw)
    cameras = reframe(read.cameras, read.size_hw, size_hw)
    fps = read.fps if wanted.fps is None and read.fps is not None else fps
    return Trajectory(Path(wanted.path).stem, cameras, size_hw, fps)


def frame_size(scene: Trained, wanted: RenderConfig) -> tuple[int, int]:
    """Height and width of the frames of a path that has no size of its own."""
    return _shrunk(wanted, wanted.size or scene.size_hw)


def _shrunk(wanted: RenderConfig, size_hw: tuple[int, int]) -> tuple[int, int]:
    height, width = size_hw
    return max(1, height // wanted.downscale), max(1, width // wanted.downscale)


def _fly(scene: Trained, wanted: RenderConfig) -> Cameras:
    """The cameras of a path that is made from the training cameras, for images of their size."""
    cameras, count = scene.cameras(), wanted.num_frames
    match wanted.path:
        case "orbit":
            return camera_paths.orbit_path(cameras, count, wanted.elevation_degrees)
        case "ellipse":
            return camera_paths.ellipse_path(cameras, count)
        case "spiral":
            return camera_paths.spiral_path(cameras, count, _distance(scene, cameras))
        case "tour":
            return camera_paths.tour_path(cameras, count)
        case _:
            return camera_paths.spline_path(cameras, count)


def _distance(scene: Trained, cameras: Cameras) -> float:
    """How far away the scene is from the camera in the middle, by a glance at it."""
    middle = camera_paths.middle_camera(np.asarray(cameras.world_from_camera))
    height, width = scene.size_hw
    rows = min(height, _GLANCE_ROWS)
    size_hw = rows, max(1, round(width * rows / height))
    seen = scene.render(reframe(cameras, scene.size_hw, size_hw), middle, size_hw)
    solid = np.asarray(seen.median_depth)[np.asarray(seen.opacity) > 0.5]
    if solid.size:
        # Rounded: a device may add in another order the next time, and the path is to be the same.
        return float(f"{np.median(solid):.3g}")
    poses = np.asarray(cameras.world_from_camera)
    return float(np.linalg.norm(focus_point(poses) - poses[middle, :, 3]))
