"""Captures: photos with cameras, whatever the format of the files that say so.

A loader of a format reads its files into a :class:`Capture`; what is common to all of them, the
placing of the scene, the held-out photos and the reading of images, happens here and once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from nerf_jax.types import Cameras


@dataclass(frozen=True)
class Capture:
    """N photos and their cameras, as files say: in the files' frame, no image read yet."""

    name: str
    source: str
    """Where it came from, for people."""
    photos: tuple[Path, ...]
    """N files, all of which exist."""
    cameras: Cameras
    """NumPy arrays of N, in this package's axes (x right, y up, looking along -z), intrinsics in
    pixels of ``size_hw``. ``near`` and ``far`` are zero where the files say nothing."""
    size_hw: Int[np.ndarray, "N 2"]
    """Of the images that the intrinsics belong to; files of another size are taken to be the same
    images resized."""
    masks: tuple[Path | None, ...] = ()
    """None, or N: an image each that is black where a photo is to be ignored."""
    splits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The numbers of the photos of each split, where the files name splits."""
    points: Float[np.ndarray, "P 3"] = field(default_factory=lambda: np.zeros((0, 3)))
    """Places on surfaces, where the files hold some."""
    missing: int = 0
    """Photos that the files list and that are not there."""
    up: Float[np.ndarray, "3"] | None = None
    """Where up is, in the files' frame, if they say so; else the mean of the cameras' is."""
