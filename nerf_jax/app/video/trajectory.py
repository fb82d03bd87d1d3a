"""The cameras, image size and frame rate of a video."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from nerf_jax.app import camera_paths
from nerf_jax.app.trained import Trained
from nerf_jax.cameras import focus_point, reframe
from nerf_jax.config import RenderConfig
from nerf_jax.types import Cameras

FPS = 15.0
_PREVIEW_ROWS = 64


class Trajectory(NamedTuple):
    """A camera path, complete with image size and frame rate."""

    name: str
    """The stem of its files' names."""
    cameras: Cameras
    """NumPy arrays, one camera per frame, for images of ``size_hw``."""
    size_hw: tuple[int, int]
    fps: float

    @property
    def num_frames(self) -> int:
        return len(self.cameras.focal)


def make_trajectory(scene: Trained, config: RenderConfig, cameras: Cameras | None) -> Trajectory:
    """The trajectory of given cameras, or of ``config.path`` if they are None.

    Raises:
        OSError, ValueError: as :func:`nerf_jax.app.video.render_video`.
    """
    if cameras is None and config.path.endswith(".json"):
        return _from_file(scene, config)
    if not (config.num_frames if cameras is None else len(cameras.focal)):
        raise ValueError("render.num_frames is 0: nothing to render; set it to at least 1")
    size_hw, fps = frame_size(scene, config), config.fps or FPS
    if cameras is not None:
        return Trajectory("path", jax.tree.map(np.asarray, cameras), size_hw, fps)
    path = reframe(_path_cameras(scene, config), scene.size_hw, size_hw)
    return Trajectory(config.path, path, size_hw, fps)


def frame_size(scene: Trained, config: RenderConfig) -> tuple[int, int]:
    """Height and width of the frames, unless a camera-path file sets them."""
    return _downscaled(config.size or scene.size_hw, config)


def _downscaled(size_hw: tuple[int, int], config: RenderConfig) -> tuple[int, int]:
    height, width = size_hw
    return max(1, height // config.downscale), max(1, width // config.downscale)


def _from_file(scene: Trained, config: RenderConfig) -> Trajectory:
    """The trajectory in a camera-path file; ``config`` overrides its image size and frame rate."""
    from nerf_jax.app.video.path_files import read_path

    path, train = Path(config.path), scene.cameras()
    bounds = float(np.mean(train.near)), float(np.mean(train.far))
    cameras, file_hw, fps = read_path(path, bounds, scene.all_cameras.world_from_original)
    size_hw = _downscaled(config.size or file_hw, config)
    cameras = reframe(cameras, file_hw, size_hw)
    return Trajectory(path.stem, cameras, size_hw, config.fps or fps or FPS)


def _path_cameras(scene: Trained, config: RenderConfig) -> Cameras:
    """The cameras of a path made from the training cameras, for images of their size.

    Raises:
        ValueError: the cameras do not allow this path; the message names those that they do.
    """
    cameras, count = scene.cameras(), config.num_frames
    makers: dict[str, Callable[[], Cameras]] = {
        "orbit": lambda: camera_paths.orbit_path(cameras, count, config.elevation_degrees),
        "ellipse": lambda: camera_paths.ellipse_path(cameras, count),
        "spiral": lambda: camera_paths.spiral_path(cameras, count, _scene_distance(scene, cameras)),
        "tour": lambda: camera_paths.tour_path(cameras, count),
        "spline": lambda: camera_paths.spline_path(cameras, count),
    }
    try:
        return makers[config.path]()
    except ValueError as error:
        choice = ", ".join(name for name, make in makers.items() if _succeeds(make))
        raise ValueError(
            f"render.path {config.path!r} is not possible from {len(cameras.focal)} training "
            f"camera(s): {error}; choose {choice + ', or ' if choice else ''}a camera-path file"
        ) from error


def _succeeds(make: Callable[[], Cameras]) -> bool:
    try:
        make()
    except ValueError:
        return False
    return True


def _scene_distance(scene: Trained, cameras: Cameras) -> float:
    """The median depth of a small rendering by the central camera, or if it shows nothing, the
    camera's distance to the focus point; in world units.
    """
    poses = np.asarray(cameras.world_from_camera)
    middle = camera_paths.middle_camera(poses)
    height, width = scene.size_hw
    rows = min(height, _PREVIEW_ROWS)
    size_hw = rows, max(1, round(width * rows / height))
    preview = scene.render(reframe(cameras, scene.size_hw, size_hw), middle, size_hw)
    depths = np.asarray(preview.median_depth)[np.asarray(preview.opacity) > 0.5]
    if depths.size:
        # Rounded, so that the path is the same if a device adds in another order the next time.
        return float(f"{np.median(depths):.3g}")
    return float(np.linalg.norm(focus_point(poses) - poses[middle, :, 3]))
