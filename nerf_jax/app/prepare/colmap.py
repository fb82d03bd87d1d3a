"""COLMAP's database: feature extraction and matching.

Features and matches are computed in batches and kept in COLMAP's database, so that progress shows
and an interrupted run continues: photos and pairs already in the database are skipped.
"""

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from nerf_jax.app.prepare.photos import Sizes, focal_length
from nerf_jax.app.progress import Progress, duration
from nerf_jax.data.files import atomic_write, optional_import

T = TypeVar("T")

_PHOTOS_PER_BATCH, _PAIRS_PER_BATCH = 8, 100
SIMPLE_LENS = "SIMPLE_RADIAL"
"""A focal length and one radial term, until the photos are placed: five of the fern's photos are
all placed with it, but four in two models with OPENCV's eight parameters."""
_NUM_NEXT = 10
"""In a sequence, the number of following photos that each photo is matched with."""
_NUM_GUIDED = 8
"""The number of photos that each photo is matched with again: it takes seconds a pair."""
_MIN_MATCHES = 15
"""COLMAP ignores pairs of photos with fewer."""


def load() -> ModuleType:
    """The package ``pycolmap``, with its log silenced."""
    pycolmap = optional_import("pycolmap", "nerf_jax[prepare]")
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    return pycolmap


def extract_features(
    database: Path, images: Path, sizes: Sizes, max_size: int, max_features: int
) -> None:
    """Extract the features of photos into the database.

    Photos of one size share a camera, unless their EXIF data state other focal lengths. Photos
    whose longest side exceeds ``max_size`` pixels are reduced to it.
    """
    pycolmap = load()
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.max_image_size = max_size
    extraction.sift.max_num_features = max_features
    cameras = _cameras(database)
    lenses = {name: (*size, focal_length(images / name)) for name, size in sizes.items()}
    batches = []
    for lens in sorted(set(lenses.values())):
        names = [name for name in sizes if lenses[name] == lens and name not in cameras]
        batches += _batches(names, _PHOTOS_PER_BATCH)
    for batch in _track(batches, "features"):
        reader = pycolmap.ImageReaderOptions(camera_model=SIMPLE_LENS)
        shared = [
            camera for name, camera in cameras.items() if lenses.get(name) == lenses[batch[0]]
        ]
        if shared:
            reader.existing_camera_id = shared[0]
        single = {"camera_mode": pycolmap.CameraMode.SINGLE, "reader_options": reader}
        pycolmap.extract_features(database, images, batch, **single, extraction_options=extraction)
        cameras = _cameras(database)


def pairs(names: Sequence[str], *, sequential: bool) -> list[tuple[str, str]]:
    """The pairs of photos to match: all, or those with a small distance in the order of ``names``
    or one that is a power of two, which closes loops.
    """
    count = len(names)
    steps = {*range(1, _NUM_NEXT + 1), *(2**power for power in range(count.bit_length()))}
    return [
        (names[first], names[second])
        for first in range(count)
        for second in range(first + 1, count)
        if not sequential or second - first in steps
    ]


def match(database: Path, wanted: Iterable[tuple[str, str]], *, guided: bool = False) -> None:
    """Match the features of pairs of photos, by name, into the database.

    With ``guided``, they are matched again along the epipolar lines that the matches determine.
    """
    pycolmap = load()
    options = pycolmap.FeatureMatchingOptions(guided_matching=guided)
    with _opened(database) as opened:
        ids = {image.name: image.image_id for image in opened.read_all_images()}
        left = [
            (first, second)
            for first, second in wanted
            if not opened.exists_two_view_geometry(ids[first], ids[second])
        ]
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "pairs.txt"
        per_batch, label = (10, "guided pairs") if guided else (_PAIRS_PER_BATCH, "pairs")
        for batch in _track(_batches(left, per_batch), label):
            names.write_text("".join(f"{first} {second}\n" for first, second in batch))
            pairing = pycolmap.ImportedPairingOptions(match_list_path=names)
            pycolmap.match_image_pairs(database, options, pairing_options=pairing)


def match_guided(database: Path) -> Path:
    """Guided matching of each photo with the photos that share most matches with it.

    Returns:
        Another database, next to this one; an interrupted run continues it.
    """
    guided, found, pairs_of = database.with_name("guided.db"), matches(database), Counter[str]()
    wanted = []
    for pair in sorted(found, key=lambda pair: -found[pair]):
        if min(pairs_of[name] for name in pair) < _NUM_GUIDED:
            wanted.append(pair)
            pairs_of.update(pair)
    if not guided.exists():
        with atomic_write(guided) as aside:
            shutil.copyfile(database, aside)
            with _opened(aside) as opened:
                ids = {image.name: image.image_id for image in opened.read_all_images()}
                for first, second in wanted:
                    opened.delete_matches(ids[first], ids[second])
                    opened.delete_two_view_geometry(ids[first], ids[second])
    match(guided, wanted, guided=True)
    return guided


def matches(database: Path) -> dict[tuple[str, str], int]:
    """The number of matches that agree with one two-view geometry, for pairs that have enough."""
    with _opened(database) as opened:
        names = {image.image_id: image.name for image in opened.read_all_images()}
        pair_ids, counts = opened.read_two_view_geometry_num_inliers()
    found = {}
    for pair_id, count in zip(pair_ids, counts, strict=True):
        if count >= _MIN_MATCHES:
            first, second = sorted(names[key] for key in load().pair_id_to_image_pair(pair_id))
            found[first, second] = count
    return found


def median_features(database: Path) -> float:
    """The number of features of a photo, the median over photos."""
    with _opened(database) as opened:
        ids = [image.image_id for image in opened.read_all_images()]
        return float(np.median([opened.num_keypoints_for_image(image_id) for image_id in ids]))


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
