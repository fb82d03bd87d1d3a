"""Inputs of the fuzz campaign: COLMAP models, and pycolmap as the independent reader."""

import itertools
import json
import select
import struct
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from fuzz_captures import (
    COUNT,
    FOCAL,
    LENS,
    PHOTOS,
    POSES,
    PRINCIPAL,
    SIZE_HW,
    Values,
    camera_numbers,
    cameras_of,
    write_photos,
)

from nerf_jax.data import colmap


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """w, x, y, z: the eigenvector of Bar-Itzhack's matrix (2000), exact for rotations."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    upper = [[a - e - i, b + d, c + g, h - f], [0, e - a - i, f + h, c - g]]
    upper += [[0, 0, i - a - e, d - b], [0, 0, 0, a + e + i]]
    x, y, z, w = np.linalg.eigh(np.array(upper).T / 3)[1][:, -1]
    return np.array([w, x, y, z])


def _colmap_poses() -> list[tuple[np.ndarray, np.ndarray]]:
    rotations = [(pose[:, :3] * [1, -1, -1]).T for pose in POSES]
    return [(_quaternion(r), -r @ pose[:, 3]) for r, pose in zip(rotations, POSES, strict=True)]


def write_colmap_text(root: Path) -> None:
    write_photos(root)
    model = root / "sparse/0"
    model.mkdir(parents=True)
    numbers = " ".join(map(str, (*FOCAL, *PRINCIPAL, *LENS.values())))
    cameras = f"# Camera list\n1 OPENCV {SIZE_HW[1]} {SIZE_HW[0]} {numbers}\n"
    (model / "cameras.txt").write_text(cameras)
    lines = ["# Image list"]
    for index, (quaternion, translation) in enumerate(_colmap_poses()):
        pose = " ".join(map(repr, map(float, (*quaternion, *translation))))
        lines += [f"{index + 1} {pose} 1 {Path(PHOTOS[index]).name}", "1.5 2.5 1 3.5 4.5 -1"]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    track = " ".join(f"{index + 1} 0" for index in range(COUNT))
    (model / "points3D.txt").write_text(f"# Points\n1 0.1 0.2 0.3 9 9 9 0.5 {track}\n")


def write_colmap_binary(root: Path) -> None:
    write_photos(root)
    model = root / "sparse/0"
    model.mkdir(parents=True)
    numbers = *FOCAL, *PRINCIPAL, *LENS.values()
    camera = struct.pack("<QIiQQ8d", 1, 1, 4, SIZE_HW[1], SIZE_HW[0], *numbers)
    (model / "cameras.bin").write_bytes(camera)
    images = struct.pack("<Q", COUNT)
    for index, (quaternion, translation) in enumerate(_colmap_poses()):
        images += struct.pack("<I7dI", index + 1, *quaternion, *translation, 1)
        images += Path(PHOTOS[index]).name.encode() + b"\0"
        images += struct.pack("<Q2dq2dq", 2, 1.5, 2.5, 1, 3.5, 4.5, -1)
    (model / "images.bin").write_bytes(images)
    track = itertools.chain.from_iterable((index + 1, 0) for index in range(COUNT))
    point = struct.pack("<QQ3d3BdQ6I", 1, 1, 0.1, 0.2, 0.3, 9, 9, 9, 0.5, COUNT, *track)
    (model / "points3D.bin").write_bytes(point)


PYCOLMAP = """
import json, sys, pycolmap
for line in sys.stdin:
    found = {}
    try:
        for image in pycolmap.Reconstruction(line.strip()).images.values():
            camera, matrix = image.camera, image.cam_from_world().matrix()
            names = camera.params_info.split(", ")
            numbers = dict(zip(names, camera.params.tolist()), model=camera.model.name)
            found[image.name] = matrix.tolist(), numbers
    except Exception:
        found = None
    print(json.dumps(found), flush=True)
"""


class Pycolmap:
    """pycolmap in a process of its own, since damaged models crash it or make it hang."""

    process: subprocess.Popen[str] | None = None

    @classmethod
    def ask(cls, model: Path) -> dict[str, tuple[Any, Values]]:
        """Pose and parameters of each image. Raises ``ValueError`` if it has no answer."""
        if cls.process is None or cls.process.poll() is not None:
            command = [sys.executable, "-c", PYCOLMAP]
            pipe = subprocess.PIPE
            cls.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
            )
        process: Any = cls.process
        process.stdin.write(f"{model}\n")
        process.stdin.flush()
        if select.select([process.stdout], [], [], 5.0)[0]:
            answer = json.loads(process.stdout.readline() or "null")
            if answer is not None:
                return answer
        else:
            process.kill()
            process.wait()
        raise ValueError(f"{model}: pycolmap cannot read it")


def expect_colmap(root: Path) -> Values:
    found = {}
    for name, (matrix, camera) in Pycolmap.ask(root / "sparse/0").items():
        matrix = np.array(matrix)
        rotation = matrix[:, :3].T
        pose = np.column_stack([rotation * [1, -1, -1], -rotation @ matrix[:, 3]])
        if np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-4:
            raise ValueError("pycolmap does not normalize quaternions")
        if camera["model"] not in ("OPENCV", "PINHOLE", "OPENCV_FISHEYE"):
            raise ValueError("its parameters have other names")
        lens = [camera.get(name, 0.0) for name in ("k1", "k2", "k3", "k4", "p1", "p2")]
        focal, principal = (camera["fx"], camera["fy"]), (camera["cx"], camera["cy"])
        found[PurePosixPath(name.replace("\\", "/")).stem.casefold()] = camera_numbers(
            pose, focal, principal, lens
        )
    return found


def read_colmap(root: Path) -> Values:
    return cameras_of(colmap.read(root))
