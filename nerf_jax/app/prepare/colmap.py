"""COLMAP's steps: feature extraction, matching, and incremental reconstruction.

Features and matches are computed in batches and kept in COLMAP's database, so that progress shows
and an interrupted run continues: photos and pairs already in the database are skipped.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nerf_jax.app.progress import Progress, duration
from nerf_jax.data.files import optional_import

T = TypeVar("T")

_PHOTOS_PER_BATCH = 8
_PAIRS_PER_BATCH = 100
_NUM_NEXT = 10
"""In a sequence, the number of following photos that each photo is matched with."""
_MIN_INLIERS = 30
"""Matches that agree with one two-view geometry, for two photos that overlap."""


class Overlap(NamedTuple):
    """Statistics of a database: medians over the photos."""

    features: float
    partners: float
    """Number of other photos that overlap a photo."""


def load() -> ModuleType:
    """The package ``pycolmap``, with its log silenced.

    Raises:
        ImportError: it is missing; the message is the line that installs it.
    """
    pycolmap = optional_import("pycolmap", "nerf_jax[prepare]")
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    return pycolmap


def extract_features(
    database: Path,
    images: Path,
    sizes: dict[str, tuple[int, int]],
    max_size: int,
    max_features: int,
) -> None:
    """Extract the features of photos into the database; photos of one size share a camera.

    Args:
        database: COLMAP's; created if missing.
        images: the photos' folder.
        sizes: ``{name: (width, height)}`` of each photo.
        max_size: longest side in pixels; larger photos are reduced to it.
        max_features: maximum number of features per photo.
    """
    pycolmap = load()
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.max_image_size = max_size
    extraction.sift.max_num_features = max_features
    cameras = _cameras(database)
    batches = []
    for size in sorted(set(sizes.values())):
        names = [name for name in sizes if sizes[name] == size and name not in cameras]
        batches += _batches(names, _PHOTOS_PER_BATCH)
    for batch in _track(batches, "features"):
        reader = pycolmap.ImageReaderOptions(camera_model="OPENCV")
        shared = [camera for name, camera in cameras.items() if sizes.get(name) == sizes[batch[0]]]
        if shared:
            reader.existing_camera_id = shared[0]
        pycolmap.extract_features(
            database,
            images,
            batch,
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
        )
        cameras = _cameras(database)


def pairs(names: Sequence[str], *, sequential: bool) -> list[tuple[str, str]]:
    """The pairs of photos to match.

    Args:
        names: of the photos, in the order they were taken if ``sequential``.
        sequential: only pairs whose distance in the order is small, or a power of two, which
            closes loops; else all pairs.
    """
    count = len(names)
    steps = {*range(1, _NUM_NEXT + 1), *(2**power for power in range(count.bit_length()))}
    return [
        (names[first], names[second])
        for first in range(count)
        for second in range(first + 1, count)
        if not sequential or second - first in steps
    ]


def match(database: Path, wanted: Sequence[tuple[str, str]]) -> None:
    """Match the features of pairs of photos, by name, into the database."""
    pycolmap = load()
    with _opened(database) as opened:
        ids = {image.name: image.image_id for image in opened.read_all_images()}
        left = [
            (first, second)
            for first, second in wanted
            if not opened.exists_two_view_geometry(ids[first], ids[second])
        ]
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "pairs.txt"
        for batch in _track(_batches(left, _PAIRS_PER_BATCH), "pairs"):
            names.write_text("".join(f"{first} {second}\n" for first, second in batch))
            pairing = pycolmap.ImportedPairingOptions(match_list_path=names)
            pycolmap.match_image_pairs(database, pairing_options=pairing)


def reconstruct(database: Path, images: Path, total: int) -> Any | None:
    """Reconstruct the cameras and sparse points from the matches.

    Args:
        database: with the matches.
        images: the photos' folder, for the points' colours.
        total: number of photos.

    Returns:
        The ``pycolmap.Reconstruction`` with the most registered photos; None if there is none.
    """
    pycolmap = load()
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = 3
    placed, start = 0, time.monotonic()
    with Progress("placed", total) as progress, tempfile.TemporaryDirectory() as folder:

        def add(count: int) -> None:
            nonlocal placed
            placed = count if count == 2 else placed + count  # a pair begins a new model
            progress.update(placed, f"after {duration(time.monotonic() - start)}")

        models = pycolmap.incremental_mapping(
            database,
            images,
            folder,
            options,
            initial_image_pair_callback=lambda: add(2),
            next_image_callback=lambda: add(1),
        )
    return max(models.values(), key=lambda model: model.num_reg_images(), default=None)


def overlap(database: Path) -> Overlap:
    """The statistics of a database with matches."""
    with _opened(database) as opened:
        ids = [image.image_id for image in opened.read_all_images()]
        features = [opened.num_keypoints_for_image(image_id) for image_id in ids]
        partners = dict.fromkeys(ids, 0)
        for pair, inliers in zip(*opened.read_two_view_geometry_num_inliers(), strict=True):
            for image_id in load().pair_id_to_image_pair(pair) if inliers >= _MIN_INLIERS else ():
                partners[image_id] += 1
    return Overlap(float(np.median(features)), float(np.median(list(partners.values()))))


def _cameras(database: Path) -> dict[str, int]:
    """The camera id of each photo in the database."""
    with _opened(database) as opened:
        return {image.name: image.camera_id for image in opened.read_all_images()}


@contextlib.contextmanager
def _opened(database: Path) -> Iterator[Any]:
    opened = load().Database.open(database)
    try:
        yield opened
    finally:
        opened.close()


def _batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _track(batches: Sequence[Sequence[T]], label: str) -> Iterator[Sequence[T]]:
    """The batches, with progress that counts their items."""
    start, done, total = time.monotonic(), 0, sum(map(len, batches))
    with Progress(label, total) as progress:
        for batch in batches:
            yield batch
            done, taken = done + len(batch), time.monotonic() - start
            rest = duration(taken / done * (total - done))
            progress.update(done, f"ETA {rest}" if done < total else f"took {duration(taken)}")
