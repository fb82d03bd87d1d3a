"""A scene's setting: where its photos were taken. Kept with the run: the dataset need not be.

As ``setting.npz``: ``world_from_original``, and of each split ``<split>.names``,
``<split>.size_hw`` and the leaves of its cameras by their names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from nerf_jax.data.files import atomic_write
from nerf_jax.data.scene import Scene, Split
from nerf_jax.types import Cameras, Lens


class SplitCameras(NamedTuple):
    """The photos of a split, without their pixels."""

    names: tuple[str, ...]
    cameras: Cameras
    """NumPy arrays of N."""
    size_hw: tuple[int, int]
    """Of all of them."""


@dataclass(frozen=True)
class SceneCameras:
    """Where photos were taken, and how the scene's world lies in the frame of its files."""

    world_from_original: Float[np.ndarray, "4 4"]
    """A similarity; undone by what is exported."""
    splits: Mapping[str, SplitCameras]
    """By split. Those given by rays and not by cameras are left out."""

    @staticmethod
    def of(scene: Scene, splits: Mapping[str, Split]) -> "SceneCameras":
        """The setting of the splits that were read of a scene."""
        shots = {}
        for name, split in splits.items():
            _, height, width, _ = split.dataset.pixels.shape
            if isinstance(split.dataset.cameras, Cameras):
                shots[name] = SplitCameras(split.names, split.dataset.cameras, (height, width))
        return SceneCameras(scene.world_from_original, shots)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        arrays: dict[str, Any] = {"world_from_original": np.asarray(self.world_from_original)}
        for split, (names, cameras, size_hw) in self.splits.items():
            lens = {} if cameras.lens is None else cameras.lens._asdict()
            leaves = {"names": names, "size_hw": size_hw} | cameras._asdict() | lens
            leaves.pop("lens")
            arrays |= {f"{split}.{name}": np.asarray(leaf) for name, leaf in leaves.items()}
        with atomic_write(path) as aside:
            np.savez(aside, **arrays)

    @staticmethod
    def load(path: Path) -> "SceneCameras":
        """Read it again.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is damaged.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: not there, so it is not known where the photos were taken; "
                f"`run.py --output {path.parent} --resume` writes it"
            )
        try:
            with path.open("rb") as file:  # numpy leaves one that it opens itself open, if damaged
                arrays = dict(np.load(file))
            splits = {name.split(".")[0] for name in arrays if name.endswith(".names")}
            shots = {split: _shots(arrays, split) for split in splits}
            return SceneCameras(arrays["world_from_original"], shots)
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise ValueError(
                f"{path}: damaged ({error}); `run.py --output {path.parent} --resume` writes it "
                "anew"
            ) from error


def _shots(arrays: Mapping[str, np.ndarray], split: str) -> SplitCameras:
    def leaf(name: str) -> np.ndarray:
        return arrays[f"{split}.{name}"]

    bent = f"{split}.fisheye" in arrays
    lens = Lens(*(leaf(name) for name in Lens._fields)) if bent else None
    own: dict[str, Any] = {name: leaf(name) for name in Cameras._fields if name != "lens"}
    height, width = (int(side) for side in leaf("size_hw"))
    return SplitCameras(tuple(map(str, leaf("names"))), Cameras(**own, lens=lens), (height, width))
