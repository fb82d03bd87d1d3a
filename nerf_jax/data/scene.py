"""What every loader returns: a scene of lazily read splits, on the host."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from nerf_jax.types import Dataset


@dataclass(frozen=True)
class Split:
    """Some images of a scene. The arrays are NumPy's: nothing is on a device yet."""

    dataset: Dataset
    names: tuple[str, ...]
    """Of the images, as in their files."""
    depth: np.ndarray | None = None
    """[N, H, W] float32, distances along the rays in world units: of all pixels (inf where nothing
    is hit) where the scene is built in, of those that show a sparse point (else 0) in captures."""


@dataclass(frozen=True)
class Scene:
    """A scene whose splits are read when they are asked for."""

    name: str
    source: str
    """Where it came from, for people: a folder, a file, "built in"."""
    loaders: Mapping[str, Callable[[], Split]]
    """A loader for each split; making the scene reads no image."""
    world_from_original: np.ndarray = field(default_factory=lambda: np.eye(4))
    """[4, 4] float64: a similarity from the frame of the files to the scene's world, where the
    loader turned and scaled it (:mod:`nerf_jax.data.normalize`); undone by what is exported."""
    notes: tuple[str, ...] = ()
    """What the user should know of how it was read: photos that are missing, a size not asked
    for. A line each."""

    def split(self, name: str) -> Split:
        """Read a split.

        Raises:
            ValueError: the scene has no such split, or its files are unusable.
        """
        if name not in self.loaders:
            raise ValueError(
                f"{self.source}: no split {name!r}; this scene has {', '.join(self.loaders)}"
            )
        return self.loaders[name]()
