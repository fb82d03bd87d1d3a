"""The cameras of a page: the training views, the camera path, the point that it orbits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nerf_jax.app.camera_paths import middle_camera
from nerf_jax.app.trained import Trained
from nerf_jax.app.video.trajectory import make_trajectory
from nerf_jax.cameras import focus_point, reframe
from nerf_jax.types import Cameras, Rendering

_FRAMES = 60
"""Of the path, where the config has no video."""
_CLOSED = ("orbit", "ellipse", "spiral")
"""Paths whose first camera follows the last one."""


def training_views(scene: Trained) -> list[dict[str, Any]]:
    """The training cameras without lens distortion, each with the name of its photo."""
    names = scene.all_cameras.splits["train"].names
    views = _views(scene.cameras())
    return [{"name": name, **view} for name, view in zip(names, views, strict=True)]


def start_view(cameras: Cameras) -> int:
    """The index of the camera that is typical in its elevation, seen from the cameras' focus."""
    poses = np.asarray(cameras.world_from_camera, float)
    offsets = poses[:, :, 3] - focus_point(poses)
    elevation = np.arctan2(offsets[:, 2], np.linalg.norm(offsets[:, :2], axis=1))
    return int(np.argmin(np.abs(elevation - np.median(elevation))))


def camera_path(scene: Trained) -> dict[str, Any]:
    """The frames of the config's camera path, and whether the first follows the last one.

    A tour, where the path was in a file that is no longer there; no frames, where the cameras do
    not allow the path.
    """
    config = scene.config.render
    if config.path.endswith(".json") and not Path(config.path).is_file():
        config = replace(config, path="tour")
    config = replace(config, num_frames=config.num_frames or _FRAMES, size=None, downscale=1)
    try:
        trajectory = make_trajectory(scene, config, None)
    except ValueError:
        return {"frames": [], "closed": False}
    cameras = reframe(trajectory.cameras, trajectory.size_hw, scene.size_hw)
    return {"frames": _views(cameras), "closed": config.path in _CLOSED}


def focus(scene: Trained, rendering: Rendering) -> list[float]:
    """The point that the camera orbits: the nearest to all optical axes.

    For photos from one side, whose axes are nearly parallel, the middle camera's at the median
    depth of a view.

    Args:
        scene: the trained scene.
        rendering: of one of its views.
    """
    poses = np.asarray(scene.cameras().world_from_camera, float)
    depths = np.asarray(rendering.median_depth)[np.asarray(rendering.opacity) > 0.5]
    if np.linalg.norm(poses[:, :, 2].mean(axis=0)) < 0.95 or not depths.size:
        return _numbers(focus_point(poses))
    pose = poses[middle_camera(poses)]
    return _numbers(pose[:, 3] - float(np.median(depths)) * pose[:, 2])


def _views(cameras: Cameras) -> list[dict[str, Any]]:
    leaves = cameras._replace(lens=None)._asdict()
    names = {"world_from_camera": "pose"}
    del leaves["lens"]
    return [
        {names.get(name, name): _numbers(np.asarray(leaf)[index]) for name, leaf in leaves.items()}
        for index in range(len(cameras.near))
    ]


def _numbers(array: Any) -> Any:
    """Numbers of JSON, to the precision of float32."""
    if np.ndim(array):
        return [_numbers(each) for each in array]
    return float(f"{float(array):.8g}")
