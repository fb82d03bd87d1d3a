"""The result of every loader: a scene of splits that are read on request, as NumPy arrays."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nerf_jax.types import Dataset

Track = Callable[[Iterable[Any], str, int], Iterator[Any]]
"""``(items, label, total) -> items``, which shows the progress."""


def untracked(items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    """The items, without a display of the progress."""
    yield from items


@dataclass(frozen=True)
class Split:
    """Some images of a scene, as NumPy arrays on the host."""

    dataset: Dataset
    names: tuple[str, ...]
    """Of the images, from their files."""
    depth: Any = None
    """[N, H, W] float32, distances along the rays in world units. Built-in scenes: all pixels,
    inf where a ray hits nothing. Captures: pixels that observe a sparse point, 0 elsewhere; a
    :class:`nerf_jax.data.memory.SparseArray` if the pixels are mapped from a file."""
    log_exposure: np.ndarray | None = None
    """[N], by :func:`nerf_jax.data.images.log_exposure`; None: no photo states it."""


@dataclass(frozen=True)
class Scene:
    """A scene whose splits are read on request."""

    name: str
    source: str
    """The origin of the scene, for messages: a folder, a file, "built in"."""
    loaders: Mapping[str, Callable[[Track], Split]]
    """The function that reads each split."""
    world_from_original: np.ndarray = field(default_factory=lambda: np.eye(4))
    """[4, 4] float64: the similarity from the frame of the files to the world
    (:mod:`nerf_jax.data.normalize`). Exports apply its inverse."""
    notes: tuple[str, ...] = ()
    """One-line notes for the user, such as missing photos or an image size other than requested."""

    def split(self, name: str, track: Track = untracked) -> Split:
        """Read a split, and show the progress.

        Raises:
            ValueError: the scene has no such split, or its files are unusable.
        """
        if name not in self.loaders:
            raise ValueError(
                f"{self.source}: no split {name!r}; this scene has {', '.join(self.loaders)}"
            )
        return self.loaders[name](track)
