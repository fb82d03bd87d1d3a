"""Rendered frames as files, from which videos and images are made.

``about.json`` identifies the trajectory, the image size and the checkpoint. ``00000.npz`` and so on
hold colour and opacity with 16 bits, and median depth as float32. Files are written atomically.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from nerf_jax.app.images import to_uint16
from nerf_jax.app.trained import Trained
from nerf_jax.app.video.trajectory import Trajectory
from nerf_jax.data.files import atomic_write, one_line
from nerf_jax.types import Rendering

_ABOUT = "about.json"


class Frame(NamedTuple):
    """One rendered image."""

    color: Float[np.ndarray, "H W 3"]
    """In [0, 1], over the background."""
    opacity: Float[np.ndarray, "H W"]
    depth: Float[np.ndarray, "H W"]
    """Median distance along the ray, in world units."""


@dataclass(frozen=True)
class Frames:
    """The frames of one trajectory in a folder."""

    folder: Path
    count: int
    """Of the whole trajectory."""

    def begin(self, trajectory: Trajectory, scene: Trained) -> list[int]:
        """Delete frames of another trajectory or scene; the indices of frames without a file."""
        about = _about(trajectory, scene)
        file = self.folder / _ABOUT
        if not file.is_file() or file.read_bytes() != about.encode():
            _clear(self.folder)
            with atomic_write(file) as aside:
                aside.write_bytes(about.encode())
        return [index for index in range(self.count) if not self._file(index).is_file()]

    def write(self, index: int, rendering: Rendering) -> None:
        """Save a frame."""
        with atomic_write(self._file(index)) as aside:
            np.savez(
                aside,
                color=to_uint16(np.asarray(rendering.rgb)),
                opacity=to_uint16(np.asarray(rendering.opacity)),
                depth=np.asarray(rendering.median_depth, np.float32),
            )

    def read(self, index: int) -> Frame:
        """Load a frame; raises a ``ValueError`` if its file is damaged."""
        path = self._file(index)
        try:
            with path.open("rb") as file:
                arrays = dict(np.load(file))
            white = np.float32(2**16 - 1)
            return Frame(arrays["color"] / white, arrays["opacity"] / white, arrays["depth"])
        except Exception as error:  # damaged files raise almost any exception
            raise ValueError(
                f"{path}: damaged ({one_line(error)}); delete it and render again: the others are "
                "kept"
            ) from error

    def __iter__(self) -> Iterator[Frame]:
        return map(self.read, range(self.count))

    def remove(self) -> None:
        """Delete the frames, and their folders unless these contain other files."""
        _clear(self.folder)
        for folder in (self.folder, self.folder.parent):
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()

    def _file(self, index: int) -> Path:
        return self.folder / f"{index:05d}.npz"


def _clear(folder: Path) -> None:
    """Delete the files of frames, including temporary ones of an interrupted write."""
    for path in [*folder.glob("*[0-9].npz"), folder / _ABOUT]:
        path.unlink(missing_ok=True)


def _about(trajectory: Trajectory, scene: Trained) -> str:
    """A text that is equal for equal frames."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((trajectory.cameras, scene.state.params, scene.state.aux)):
        digest.update(np.asarray(leaf).tobytes())
    about = {
        "path": trajectory.name,
        "frames": trajectory.num_frames,
        "size_hw": trajectory.size_hw,
        "step": int(scene.state.step),
        "cameras_and_scene": digest.hexdigest(),
    }
    return json.dumps(about, indent=2) + "\n"
