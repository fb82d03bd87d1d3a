"""Captures: photos with cameras, whatever the format of the files that say so.

A loader of a format reads its files into a :class:`Capture`; what is common to all of them, the
placing of the scene, the held-out photos and the reading of images, happens here and once.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from nerf_jax.config import DataConfig
from nerf_jax.data import normalize
from nerf_jax.data.photos import Photo, read_photos
from nerf_jax.data.scene import Scene, Split
from nerf_jax.types import Cameras, Dataset

NEAR, FAR = 0.05, 100.0
"""Where rays start and end if neither files nor config say: cameras reach to 1 in the world."""


class Sightings(NamedTuple):
    """What one photo shows of a capture's points: the others may be out of sight, or hidden."""

    point: Int[np.ndarray, " S"]
    """Numbers in ``Capture.points``."""
    place: Float[np.ndarray, "S 2"]
    """Where, in pixels of ``Capture.size_hw``: x and y from the upper left corner."""


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
    sightings: tuple[Sightings, ...] = ()
    """None, or N: which of the points each photo shows."""
    missing: int = 0
    """Photos that the files list and that are not there."""
    up: Float[np.ndarray, "3"] | None = None
    """Where up is, in the files' frame, if they say so; else the mean of the cameras' is."""


def to_scene(capture: Capture, config: DataConfig) -> Scene:
    """The scene of a capture: placed, split, and its photos read when a split is asked for.

    The intrinsics follow the size that photos have on disk and are shrunk to. Photos of several
    sizes are padded at the bottom and the right to one, and ``Dataset.mask`` leaves the margin
    out, as it does what the capture's own masks hide.

    Raises:
        ValueError: there is no photo, or none to learn from, or rays would end before they start.
            Reading a split raises it too, for photos that are not as they should be.
    """
    if not capture.photos:
        raise ValueError(
            f"{capture.source}: none of its {capture.missing} photos is there; put them where it "
            "says, or start the program on the folder that holds both"
        )
    world_from_original = np.eye(4)
    if config.normalize == "cameras":
        poses = np.asarray(capture.cameras.world_from_camera)
        world_from_original = normalize.placement(poses, capture.up)
    placed = replace(
        capture,
        cameras=_bounded(normalize.move(world_from_original, capture.cameras), capture, config),
        points=normalize.move_points(world_from_original, capture.points),
    )
    loaders = {
        split: partial(_read_split, placed, numbers, config)
        for split, numbers in _splits(capture, config).items()
    }
    listed = len(capture.photos) + capture.missing
    missing = f"{capture.missing} of the {listed} photos that its files list are not there"
    return Scene(
        name=capture.name,
        source=capture.source,
        loaders=loaders,
        world_from_original=world_from_original,
        notes=(missing,) if capture.missing else (),
    )


def _bounded(cameras: Cameras, capture: Capture, config: DataConfig) -> Cameras:
    """The cameras with ``near`` and ``far``: the config's, else the files', else what suits."""
    near = np.where(cameras.near > 0, cameras.near, NEAR) if config.near is None else config.near
    far = np.where(cameras.far > 0, cameras.far, FAR) if config.far is None else config.far
    with np.errstate(over="ignore"):  # what is too large becomes inf, and is named below
        near, far = (np.full(cameras.near.shape, bound, np.float32) for bound in (near, far))
    wrong = np.flatnonzero(~((near < far) & (far < np.inf)))
    if len(wrong):
        name, first, last = capture.photos[wrong[0]].name, near[wrong[0]], far[wrong[0]]
        raise ValueError(
            f"{capture.source}: the rays of {name} would start at {first:g} and end at {last:g}; "
            "set data.near below data.far, in units of the world that the scene is placed in"
        )
    return cameras._replace(near=near, far=far)


def _splits(capture: Capture, config: DataConfig) -> dict[str, list[int]]:
    """The numbers of the photos of each split, by name.

    Raises:
        ValueError: the files leave no photo to learn from.
    """
    ordered = sorted(range(len(capture.photos)), key=lambda number: str(capture.photos[number]))
    if not capture.splits:
        every = config.hold_out if len(ordered) > 1 else 0  # the only photo is learned from
        held_out = ordered[::every] if every else []
        train = [number for number in ordered if number not in held_out]
        return {"train": train, "val": held_out} if held_out else {"train": train}
    splits = {split: list(numbers) for split, numbers in capture.splits.items() if numbers}
    named = {number for numbers in splits.values() for number in numbers}
    splits.setdefault("train", [number for number in ordered if number not in named])
    if not splits["train"]:
        raise ValueError(
            f"{capture.source}: puts every photo that is there into {', '.join(capture.splits)}; "
            "name some for train, or no split at all"
        )
    return splits


def _read_split(capture: Capture, numbers: Sequence[int], config: DataConfig) -> Split:
    masks = capture.masks or (None,) * len(capture.photos)
    photos = [
        Photo(capture.photos[number], (int(height), int(width)), masks[number])
        for number in numbers
        for height, width in [capture.size_hw[number]]
    ]
    pixels, counts, scale = read_photos(photos, config)
    if not counts.any():
        raise ValueError(
            f"{capture.source}: the masks of {photos[0].path.name} and of all others of its split "
            "hide every pixel; black is what is to be ignored"
        )
    cameras: Cameras = jax.tree.map(lambda leaf: np.asarray(leaf)[list(numbers)], capture.cameras)
    cameras = cameras._replace(focal=cameras.focal * scale, principal=cameras.principal * scale)
    cameras = jax.tree.map(_narrow, cameras)
    names = _names([photo.path for photo in photos])
    depth = _depth(capture, numbers, scale, counts.shape)
    return Split(Dataset(cameras, pixels, None if counts.all() else counts), names, depth)


def _depth(
    capture: Capture,
    numbers: Sequence[int],
    scale: Float[np.ndarray, "N 2"],
    shape: tuple[int, ...],
) -> Float[np.ndarray, "N H W"] | None:
    """How far from their cameras the points are, in the pixels that show them; 0 in the others.

    Of several in one pixel the nearest: it hides the others. None if no photo shows any.
    """
    if not capture.sightings:
        return None
    depth = np.full(shape, np.inf, np.float32)
    for slot, number in enumerate(numbers):
        point, place = capture.sightings[number]
        with np.errstate(over="ignore"):  # what is too large becomes inf, and is not known
            away = capture.points[point] - capture.cameras.world_from_camera[number, :, 3]
            distance = np.linalg.norm(away, axis=1).astype(np.float32)
            column, row = np.floor(place * scale[slot]).T
        # Within the array: where a photo is smaller than that, the mask hides the rest.
        inside = (column >= 0) & (column < shape[2]) & (row >= 0) & (row < shape[1])
        pixel = row[inside].astype(int), column[inside].astype(int)
        np.minimum.at(depth[slot], pixel, distance[inside])
    depth[np.isinf(depth)] = 0
    return depth if depth.any() else None


def _narrow(leaf: np.ndarray) -> np.ndarray:
    """As the device holds it: float32, where it is a number."""
    return leaf if leaf.dtype == bool else leaf.astype(np.float32)


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Names of photos, one each: pictures of them are saved under these."""
    root = os.path.commonpath([path.parent for path in paths])
    full = tuple("_".join(path.relative_to(root).parts) for path in paths)
    names = tuple(path.stem for path in paths), tuple(os.path.splitext(name)[0] for name in full)
    return next((each for each in names if len(set(each)) == len(each)), full)
