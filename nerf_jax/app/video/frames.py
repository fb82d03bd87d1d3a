"""The frames of a shot as files: what was seen, before any picture is made of it.

``about.json`` says of which path, size and checkpoint they are; ``00000.npz`` and so on hold colour
and opacity to 16 bits and median depth in world units as float32. Each is there whole or not at
all.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax
import numpy as np
from jaxtyping import Float

from nerf_jax.app.images import to_uint16
from nerf_jax.app.trained import Trained
from nerf_jax.app.video.trajectory import Trajectory
from nerf_jax.data.files import atomic_write
from nerf_jax.types import Rendering

_NOTE = "about.json"


class Frame(NamedTuple):
    """What one camera saw."""

    color: Float[np.ndarray, "H W 3"]
    """In [0, 1], over the background."""
    opacity: Float[np.ndarray, "H W"]
    depth: Float[np.ndarray, "H W"]
    """The median distance, in world units."""


@dataclass(frozen=True)
class Frames:
    """The frames of one shot."""

    folder: Path
    count: int
    """When all are there."""

    @staticmethod
    def open(folder: Path, shot: Trajectory, scene: Trained) -> "Frames":
        """Those in a folder, if they are of this shot of this scene; else none, made room for."""
        about = _about(shot, scene)
        note = folder / _NOTE
        if not note.is_file() or note.read_text() != about:
            _clear(folder)
            with atomic_write(note) as aside:
                aside.write_text(about)
        return Frames(folder, shot.num_frames)

    def missing(self) -> list[int]:
        """The numbers of those that are not there."""
        return [number for number in range(self.count) if not self._file(number).is_file()]

    def write(self, number: int, seen: Rendering) -> None:
        """Keep what was seen."""
        with atomic_write(self._file(number)) as aside:
            np.savez(
                aside,
                color=to_uint16(np.asarray(seen.rgb)),
                opacity=to_uint16(np.asarray(seen.opacity)),
                depth=np.asarray(seen.median_depth, np.float32),
            )

    def read(self, number: int) -> Frame:
        """What was seen.

        Raises:
            ValueError: the file is damaged.
        """
        path = self._file(number)
        try:
            with path.open("rb") as file:
                arrays = dict(np.load(file))
            whole = np.float32(2**16 - 1)
            return Frame(arrays["color"] / whole, arrays["opacity"] / whole, arrays["depth"])
        except (ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ValueError(
                f"{path}: damaged ({error}); remove it and render again: the others stay"
            ) from error

    def __iter__(self) -> Iterator[Frame]:
        return map(self.read, range(self.count))

    def remove(self) -> None:
        """Leave nothing of them."""
        _clear(self.folder)
        for folder in (self.folder, self.folder.parent):
            with contextlib.suppress(OSError):  # not empty: something else is there, and stays
                folder.rmdir()

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"


def _clear(folder: Path) -> None:
    """Remove frames, also those that were half written, and what is said of them."""
    for path in [*folder.glob("*[0-9].npz"), folder / _NOTE]:
        path.unlink(missing_ok=True)


def _about(shot: Trajectory, scene: Trained) -> str:
    """What frames are of, as text that is the same for the same frames."""
    digest = hashlib.sha256()
    seen: Any = (shot.cameras, scene.state.params, scene.state.aux)
    for leaf in jax.tree.leaves(seen):
        digest.update(np.asarray(leaf).tobytes())
    about = {
        "path": shot.name,
        "frames": shot.num_frames,
        "size_hw": shot.size_hw,
        "step": int(scene.state.step),
        "cameras_and_scene": digest.hexdigest(),
    }
    return json.dumps(about, indent=2) + "\n"
