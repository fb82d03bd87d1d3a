"""COLMAP's three stages, with progress: features, matches, and the cameras that explain them.

Each goes in batches, so that progress shows, an interruption loses little, and what is in the
database already is not done again.
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

_PHOTOS_A_BATCH = 8
_PAIRS_A_BATCH = 100
_NEXT_PHOTOS = 10
"""In a sequence, each photo is matched with so many that follow."""


class Overlap(NamedTuple):
    """What the photos have in common, to judge a failure by."""

    features: float
    """Of a photo; the median."""
    partners: float
    """Other photos that show the same, for a photo; the median."""


def load() -> ModuleType:
    """The package ``pycolmap``, silenced.

    Raises:
        ImportError: it is missing; the message is the line that installs it.
    """
    pycolmap = optional_import("pycolmap", "nerf_jax[prepare]")
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    return pycolmap


def find_features(
    database: Path,
    images: Path,
    sizes: dict[str, tuple[int, int]],
    max_size: int,
    max_features: int,
) -> None:
    """Find features in the photos, into the database; photos of one size share a camera.

    Args:
        database: COLMAP's; made if need be.
        images: the photos' folder.
        sizes: ``{name: (width, height)}`` of each.
        max_size: pixels; larger photos are looked at reduced to this.
        max_features: of a photo.
    """
    pycolmap = load()
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.max_image_size = max_size
    extraction.sift.max_num_features = max_features
    cameras = _cameras(database)
    left = [name for name in sizes if name not in cameras]
    batches = [
        batch
        for size in sorted(set(sizes.values()))
        for batch in _batches([name for name in left if sizes[name] == size], _PHOTOS_A_BATCH)
    ]
    for batch in _track(batches, "features"):
        shared = [camera for name, camera in cameras.items() if sizes.get(name) == sizes[batch[0]]]
        reader = pycolmap.ImageReaderOptions(camera_model="OPENCV")
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


def pairs(names: Sequence[str], sequence: bool) -> list[tuple[str, str]]:
    """The photos to compare.

    Args:
        names: of the photos, in the order they were taken if they are a sequence.
        sequence: each only with those that follow it soon, and, fewer and fewer, with later ones,
            so that a way that comes back to where it was is closed; else all with all.
    """
    count = len(names)
    if not sequence:
        return [(names[i], names[j]) for i in range(count) for j in range(i + 1, count)]
    steps = {*range(1, _NEXT_PHOTOS + 1), *(2**power for power in range(count.bit_length()))}
    return [
        (names[i], names[i + step])
        for i in range(count)
        for step in sorted(steps)
        if i + step < count
    ]


def match(database: Path, wanted: Sequence[tuple[str, str]]) -> None:
    """Compare the features of pairs of photos, into the database."""
    pycolmap = load()
    with _opened(database) as opened:
        numbers = {image.name: image.image_id for image in opened.read_all_images()}
        left = [
            (one, other)
            for one, other in wanted
            if not opened.exists_two_view_geometry(numbers[one], numbers[other])
        ]
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "pairs.txt"
        for batch in _track(_batches(left, _PAIRS_A_BATCH), "pairs"):
            names.write_text("".join(f"{one} {other}\n" for one, other in batch))
            pairing = pycolmap.ImportedPairingOptions(match_list_path=names)
            pycolmap.match_image_pairs(database, pairing_options=pairing)


def place(database: Path, images: Path, total: int) -> Any | None:
    """Find the cameras and the points that explain the matches.

    Args:
        database: with the matches.
        images: the photos' folder, for the points' colours.
        total: photos.

    Returns:
        The ``pycolmap.Reconstruction`` that places the most photos; None if there is none.
    """
    pycolmap = load()
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = 3
    placed, start = 0, time.monotonic()
    with Progress("placed", total) as progress, tempfile.TemporaryDirectory() as folder:

        def add(count: int) -> None:
            nonlocal placed
            placed = count if count == 2 else placed + count  # two: a model is begun
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
    """What the photos of a database have in common."""
    with _opened(database) as opened:
        numbers = [image.image_id for image in opened.read_all_images()]
        features = [opened.num_keypoints_for_image(number) for number in numbers]
        partners = dict.fromkeys(numbers, 0)
        for pair, inliers in zip(*opened.read_two_view_geometry_num_inliers(), strict=True):
            for number in load().pair_id_to_image_pair(pair) if inliers >= 30 else ():
                partners[number] += 1
    return Overlap(float(np.median(features)), float(np.median(list(partners.values()))))


def _cameras(database: Path) -> dict[str, int]:
    """The camera of each photo whose features are in the database."""
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
    """The batches, with progress in what they hold."""
    start, done, total = time.monotonic(), 0, sum(map(len, batches))
    with Progress(label, total) as progress:
        for batch in batches:
            yield batch
            done, taken = done + len(batch), time.monotonic() - start
            rest = duration(taken / done * (total - done))
            progress.update(done, f"ETA {rest}" if done < total else f"took {duration(taken)}")
