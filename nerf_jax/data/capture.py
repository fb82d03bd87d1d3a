"""Captures: photos and their cameras, read from files of any format.

The loader of a format reads its files into a :class:`Capture`. The steps that all formats share are
here: normalization, the split into training and held-out photos, and the reading of images.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from nerf_jax.config import DataConfig
from nerf_jax.data import normalize
from nerf_jax.data.images import log_exposure
from nerf_jax.data.lens_check import check_lenses
from nerf_jax.data.memory import SparseArray, photo_budget
from nerf_jax.data.photo_files import find_masks, is_inverted, mask_folders, natural
from nerf_jax.data.photos import Photo, read_photos
from nerf_jax.data.scene import Scene, Split, Track
from nerf_jax.types import Cameras, Dataset

NEAR, FAR = 0.05, 100.0
"""Defaults in world units, in which the coordinates of cameras do not exceed 1."""

_MAX_NAME = 200


class Observations(NamedTuple):
    """The reconstructed points that were matched in one photo."""

    points: Float[np.ndarray, "S 3"]
    """Positions in the frame of the files."""
    pixels: Float[np.ndarray, "S 2"]
    """Column and row in an image of ``Capture.size_hw``."""


@dataclass(frozen=True)
class Capture:
    """N photos and their cameras in the frame of their files; no image is read yet."""

    name: str
    source: str
    """The origin of the capture, for messages."""
    photos: tuple[Path, ...]
    """N existing files."""
    cameras: Cameras
    """Intrinsics in pixels of ``size_hw``; ``near`` and ``far`` zero if the files do not define
    them."""
    size_hw: Int[np.ndarray, "N 2"]
    """Size of the images that the intrinsics describe; the photos may be resized."""
    masks: tuple[Path | None, ...] = ()
    """Empty, or N images, black where a photo is to be ignored."""
    splits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Indices of the photos of each split, if the files define splits."""
    observations: tuple[Observations, ...] = ()
    """Empty, or N."""
    root: Path | None = None
    """The folder that may have masks by convention; None: none are searched for."""
    factor: int = 1
    """By which the photos are already shrunk, as in a folder ``images_4``."""
    notes: tuple[str, ...] = ()
    """One-line notes for the user, such as missing photos."""
    up: Float[np.ndarray, "3"] | None = None
    """The up direction, if the files define it; otherwise the mean of the cameras' up is used."""


def to_scene(capture: Capture, config: DataConfig) -> Scene:
    """Normalize a capture and divide it into splits, whose photos are read on request.

    Photos of several sizes are padded at the bottom and the right to a common size.
    ``Dataset.mask`` excludes the padding and the pixels that the capture's masks exclude.

    Raises:
        ValueError: there is no training photo, or rays would end before they start. Reading a split
            raises it for unusable photos.
    """
    capture, world_from_original = _normalize(capture, config)
    names = [photo.name for photo in capture.photos]
    lenses = check_lenses(capture.cameras, capture.size_hw, capture.source, names)
    masks, described = _masks(capture)
    capture, notes = replace(capture, masks=masks), [*capture.notes, *described, *lenses]
    rest = max(1, config.downscale // capture.factor)
    total, folder = capture.factor * rest, capture.photos[0].parent.name
    if total != config.downscale:
        reason = f"since there are none for data.downscale={config.downscale}"
        notes.append(f"photos of {folder} at 1/{total}, {reason}")
    elif capture.factor != 1:
        notes.append(f"photos of {folder}, which data.downscale={config.downscale} chooses")
    budget, config = photo_budget(config), replace(config, downscale=rest)
    loaders = {
        split: partial(_read_split, capture, indices, config, limit)
        for split, indices in _splits(capture, config, notes).items()
        for limit in [budget.train if split == "train" else budget.held_out]
    }
    return Scene(capture.name, capture.source, loaders, world_from_original, tuple(notes))


def _normalize(capture: Capture, config: DataConfig) -> tuple[Capture, Float[np.ndarray, "4 4"]]:
    """The capture in the world, its rays bounded, and ``world_from_original``."""
    world_from_original = np.eye(4)
    if config.normalize != "none":
        poses = np.asarray(capture.cameras.world_from_camera)
        observed = None
        if config.normalize == "points" and capture.observations:
            points = np.concatenate([each.points for each in capture.observations])
            observed = points if len(points) else None
        world_from_original = normalize.placement(poses, capture.up, observed)
    cameras = normalize.move(world_from_original, capture.cameras)
    observations = tuple(
        each._replace(points=normalize.move_points(world_from_original, each.points))
        for each in capture.observations
    )
    default = NEAR, FAR
    if config.normalize == "points":
        default = _observed_bounds(cameras, observations) or default
    cameras = _bounded(cameras, capture, config, default)
    return replace(capture, cameras=cameras, observations=observations), world_from_original


def _masks(capture: Capture) -> tuple[tuple[Path | None, ...], list[str]]:
    """The masks of the photos, named in the files or else found by convention, and notes."""
    masks = capture.masks or (None,) * len(capture.photos)
    if capture.root is not None:
        found = find_masks(capture.root, capture.photos)
        masks = tuple(mask or other for mask, other in zip(masks, found, strict=True))
    if not any(masks):
        folders = mask_folders(capture.root) if capture.root else []
        form = "is not used: it has neither PHOTO.jpg.png nor PHOTO.png for any photo"
        return (), [f"{folder} {form}" for folder in folders]
    folders = sorted({mask.parent for mask in masks if mask})
    ignored = "white" if all(is_inverted(mask) for mask in masks if mask) else "black"
    count = f"{len(masks) - masks.count(None)} of {len(masks)} photos have masks"
    return masks, [f"{count} in {', '.join(map(str, folders))}: {ignored} is ignored"]


def _observed_bounds(
    cameras: Cameras, observations: Sequence[Observations]
) -> tuple[float, float] | None:
    """``near`` and ``far`` that leave room before and behind the points; None without points."""
    pairs = zip(cameras.world_from_camera[:, :, 3], observations, strict=False)  # N of each, or 0
    offsets = [each.points - origin for origin, each in pairs]
    distances = np.linalg.norm(np.concatenate([np.zeros((0, 3)), *offsets]), axis=1)
    if not len(distances):
        return None
    nearest, farthest = np.percentile(distances, (0.5, 99.5))  # a few points are wrong
    return 0.5 * nearest, 4.0 * farthest


def _bounded(
    cameras: Cameras, capture: Capture, config: DataConfig, default: tuple[float, float]
) -> Cameras:
    """The cameras with ``near`` and ``far`` of the config, else of the files, else the defaults."""
    first, last = default
    near = np.where(cameras.near > 0, cameras.near, first) if config.near is None else config.near
    far = np.where(cameras.far > 0, cameras.far, last) if config.far is None else config.far
    with np.errstate(over="ignore"):  # too large values become inf and are reported below
        near, far = (np.full(cameras.near.shape, bound, np.float32) for bound in (near, far))
    wrong = np.flatnonzero(~((near < far) & (far < np.inf)))
    if len(wrong):
        name, first, last = capture.photos[wrong[0]].name, near[wrong[0]], far[wrong[0]]
        raise ValueError(
            f"{capture.source}: the rays of {name} would start at {first:g} and end at {last:g}; "
            "set data.near below data.far, in units of the normalized world"
        )
    return cameras._replace(near=near, far=far)


def _splits(capture: Capture, config: DataConfig, notes: list[str]) -> dict[str, list[int]]:
    """The indices of the photos of each split; others have none of ``train``, or nothing else."""
    ordered = sorted(range(len(capture.photos)), key=lambda index: natural(capture.photos[index]))
    if not capture.splits:
        every = config.hold_out if len(ordered) > 1 else 0  # a single photo is for training
        held_out = ordered[::every] if every else []
        train = [index for index in ordered if index not in held_out]
        return {"train": train, "val": held_out} if held_out else {"train": train}
    named = {index for indices in capture.splits.values() for index in indices}
    rest = [index for index in ordered if index not in named]
    train = list(capture.splits.get("train") or rest)
    if not train:
        raise ValueError(
            f"{capture.source}: assigns every existing photo to {', '.join(capture.splits)}; "
            "assign some to train, or remove the splits"
        )
    splits, known = {"train": train}, set(train)
    for split in [split for split in capture.splits if split != "train"]:
        indices = capture.splits[split]
        held_out = [index for index in indices if index not in known]
        if common := len(indices) - len(held_out):
            what = "left out" if held_out else "kept: the scores will be of training photos"
            notes.append(f"{split}: {common} of {len(indices)} photos are in train too, and {what}")
        splits |= {split: held_out or list(indices)} if indices else {}
    return splits


def _read_split(
    capture: Capture, indices: Sequence[int], config: DataConfig, limit: int, track: Track
) -> Split:
    masks = capture.masks or (None,) * len(capture.photos)
    photos = [
        Photo(capture.photos[index], (int(height), int(width)), masks[index])
        for index in indices
        for height, width in [capture.size_hw[index]]
    ]
    cameras: Cameras = jax.tree.map(lambda leaf: np.asarray(leaf)[list(indices)], capture.cameras)
    pixels, mask, cameras, scale = read_photos(photos, cameras, config, limit=limit, track=track)
    if mask is not None and not any(map(np.any, mask)):
        raise ValueError(
            f"{capture.source}: the masks of {photos[0].path.name} and of all others of its split "
            "exclude every pixel; only black excludes"
        )
    names = _names([photo.path for photo in photos])
    depth = _depth(capture, indices, scale, pixels.shape[:3])
    if depth is not None and not isinstance(pixels, np.memmap):
        depth = depth[:]
    exposure = np.array([log_exposure(photo.path) for photo in photos])
    known = None if np.isnan(exposure).all() else exposure
    return Split(Dataset(cameras, pixels, mask), names, depth, known)


def _depth(
    capture: Capture,
    indices: Sequence[int],
    scale: Float[np.ndarray, "N 2"],
    shape: tuple[int, ...],
) -> Any:
    """Distances from the cameras to the points, at the pixels that observe them; 0 elsewhere.

    Of several points in one pixel the nearest counts: it occludes the others. None if no photo
    observes any.
    """
    if not capture.observations:
        return None
    pixel, depth = [np.zeros(0, int)], [np.zeros(0, np.float32)]
    for image, index in enumerate(indices):
        points, pixels = capture.observations[index]
        with np.errstate(over="ignore"):  # too large values become inf, which means unknown
            offset = points - capture.cameras.world_from_camera[index, :, 3]
            distance = np.linalg.norm(offset, axis=1).astype(np.float32)
            column, row = np.floor(pixels * scale[image]).T
        # Inside the array: the mask excludes the padding of smaller photos.
        inside = (column >= 0) & (column < shape[2]) & (row >= 0) & (row < shape[1])
        inside &= (distance > 0) & (distance < np.inf)
        position = image, row[inside].astype(int), column[inside].astype(int)
        pixel.append(np.ravel_multi_index(np.broadcast_arrays(*position), shape))
        depth.append(distance[inside])
    flat, values = np.concatenate(pixel), np.concatenate(depth)
    order = np.lexsort((values, flat))
    flat, first = np.unique(flat[order], return_index=True)
    return SparseArray(shape, flat, values[order][first]) if len(flat) else None


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """A unique name for each photo, under which renderings of it are saved."""
    root = os.path.commonpath([path.parent for path in paths])
    full = tuple("_".join(path.relative_to(root).parts) for path in paths)
    names = tuple(path.stem for path in paths), tuple(os.path.splitext(name)[0] for name in full)
    unique = next((each for each in names if len(set(each)) == len(each)), full)
    # Reports are in UTF-8; other bytes of a name are escaped.
    unique = tuple(os.fsencode(name).decode(errors="backslashreplace") for name in unique)
    # Files are named after them, with more at the end, and a file system allows 255 bytes.
    if max(len(os.fsencode(name)) for name in unique) <= _MAX_NAME:
        return unique
    return tuple(f"{index}_{name[: _MAX_NAME // 4]}" for index, name in enumerate(unique))
