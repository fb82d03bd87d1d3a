"""The cameras of a scene as ``transforms.json``, for instant-ngp, nerfstudio and this package."""

from pathlib import Path

import jax
import numpy as np

from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.data.normalize import move
from nerf_jax.data.write_transforms import Fields, camera_fields, frame_fields, write_transforms
from nerf_jax.types import Cameras


def write_cameras(path: Path, scene: SceneCameras, train: Cameras, cloud: str | None) -> None:
    """Write the cameras of all splits, in the frame of the scene's own files.

    Photos keep their names; if two splits share one, all are named ``<split>/<name>``. Size and
    intrinsics are those of the images used in training.

    Args:
        path: of the file.
        scene: the names, the held-out cameras and the frame.
        train: the training cameras as refined in training.
        cloud: name of a point cloud in the same folder, if there is one.
    """
    original_from_world = np.linalg.inv(scene.world_from_original)
    names = [name for split in scene.splits.values() for name in split.names]
    ambiguous = len(set(names)) < len(names)
    frames, lists = [], {}
    for name in sorted(scene.splits, key=lambda name: (name != "train", name)):
        split = scene.splits[name]
        cameras = move(original_from_world, train if name == "train" else split.cameras)
        files = [f"{name}/{photo}" if ambiguous else photo for photo in split.names]
        lists[f"{name}_filenames"] = files
        for index, file in enumerate(files):
            camera = jax.tree.map(lambda leaf, index=index: leaf[index], cameras)
            fields = camera_fields(camera, split.size_hw)
            frames.append(frame_fields(file, camera.world_from_camera, fields))
    up = original_from_world[:3, 2]
    shared = {
        **_pop_shared(frames),
        "up": (up / np.linalg.norm(up)).tolist(),
        **({"ply_file_path": cloud} if cloud else {}),
        **lists,
    }
    write_transforms(path, shared, frames, indent=1)


def _pop_shared(frames: list[Fields]) -> Fields:
    """Remove the fields that are equal in all frames: many readers expect them in the file."""
    shared = {
        name: value
        for name, value in frames[0].items()
        if name not in ("file_path", "transform_matrix")
        and all(frame.get(name) == value for frame in frames)
    }
    for frame in frames:
        for name in shared:
            del frame[name]
    return shared
