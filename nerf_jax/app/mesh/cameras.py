"""The cameras of a scene as ``transforms.json``: what instant-ngp and nerfstudio read, and
:mod:`nerf_jax.data.transforms`.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.data.files import atomic_write
from nerf_jax.data.normalize import move
from nerf_jax.types import Cameras

Frame = dict[str, Any]


def write_cameras(path: Path, setting: SceneCameras, train: Cameras, cloud: str | None) -> None:
    """Write the cameras of all splits, in the frame of the scene's own files.

    A photo is called what it is called in the scene; where two splits have one of the same name,
    it is ``<split>/<name>``. Intrinsics are those of the images that were learned from, and so is
    the size, which photos of several sizes have in common.

    Args:
        path: of the file.
        setting: names, held-out cameras, and the frame.
        train: the training cameras, where they were learned to be.
        cloud: the name of a file of points beside it, if there is one.
    """
    original_from_world = np.linalg.inv(setting.world_from_original)
    names = [name for shots in setting.splits.values() for name in shots.names]
    clash = len(set(names)) < len(names)
    frames, listed = [], {}
    for split in sorted(setting.splits, key=lambda split: (split != "train", split)):
        shots = setting.splits[split]
        cameras = move(original_from_world, train if split == "train" else shots.cameras)
        files = [f"{split}/{name}" if clash else name for name in shots.names]
        listed[f"{split}_filenames"] = files
        each = [jax.tree.map(lambda leaf, n=n: leaf[n], cameras) for n in range(len(files))]
        frames += [
            {"file_path": name} | _frame(camera, shots.size_hw)
            for name, camera in zip(files, each, strict=True)
        ]
    up = original_from_world[:3, 2]
    content = {
        **_take_common(frames),
        "up": (up / np.linalg.norm(up)).tolist(),
        **({"ply_file_path": cloud} if cloud else {}),
        **listed,
        "frames": frames,
    }
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content, indent=1) + "\n")


def _frame(camera: Cameras, size_hw: tuple[int, int]) -> Frame:
    """What the file says of one camera."""
    height, width = size_hw
    (fx, fy), (cx, cy) = camera.focal.tolist(), camera.principal.tolist()
    pose = np.concatenate([camera.world_from_camera, [[0, 0, 0, 1]]])
    size = {"w": width, "h": height}
    pinhole = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
    return {"transform_matrix": pose.tolist(), **size, **pinhole, **_lens(camera)}


def _lens(camera: Cameras) -> Frame:
    if camera.lens is None:
        return {"camera_model": "PINHOLE"}
    radial = dict(zip(("k1", "k2", "k3", "k4"), camera.lens.radial.tolist(), strict=True))
    if camera.lens.fisheye:
        return {"camera_model": "OPENCV_FISHEYE", "is_fisheye": True, **radial}
    tangential = dict(zip(("p1", "p2"), camera.lens.tangential.tolist(), strict=True))
    return {"camera_model": "OPENCV", **radial, **tangential}


def _take_common(frames: list[Frame]) -> Frame:
    """What all frames have in common, taken out of them: many readers look for it in the file."""
    own = ("file_path", "transform_matrix")
    common = {
        name: value
        for name, value in frames[0].items()
        if name not in own and all(frame.get(name) == value for frame in frames)
    }
    for frame in frames:
        for name in common:
            del frame[name]
    return common
