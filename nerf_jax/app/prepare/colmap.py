"""COLMAP's steps: feature extraction, matching, and reconstruction in several attempts.

Features and matches are computed in batches and kept in COLMAP's database, so that progress shows
and an interrupted run continues: photos and pairs already in the database are skipped.
"""

import contextlib
import copy
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from nerf_jax.app.prepare.photos import Sizes, focal_length
from nerf_jax.app.prepare.scene import placed_images
from nerf_jax.app.progress import Progress, duration, say
from nerf_jax.data.files import atomic_write, optional_import

T = TypeVar("T")

_PHOTOS_PER_BATCH, _PAIRS_PER_BATCH = 8, 100
_SIMPLE_LENS = "SIMPLE_RADIAL"
"""A focal length and one radial term, until the photos are placed: five of the fern's photos are
all placed with it, but four in two models with OPENCV's eight parameters."""
_NUM_NEXT = 10
"""In a sequence, the number of following photos that each photo is matched with."""
_NUM_GUIDED, _MAX_GUIDED = 8, 100
"""The number of photos a photo is matched with again, and of such pairs: each takes seconds."""
_MIN_MATCHES = 15
"""COLMAP ignores pairs of photos with fewer."""
_SEED = 0  # COLMAP's own differs each time, and so did the attempt that placed LLFF's flower
_MIN_PHOTOS, _NEARLY_ALL = 3, 0.9
"""Of a model; the fraction of the photos at which only those not placed are matched again."""


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
        reader = pycolmap.ImageReaderOptions(camera_model=_SIMPLE_LENS)
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
    geometry = pycolmap.TwoViewGeometryOptions({"ransac": {"random_seed": _SEED}})
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
            pycolmap.match_image_pairs(database, options, pairing, geometry)


def match_guided(database: Path, placed: Collection[str]) -> Path:
    """Guided matching of the photos not placed, with those that share most matches, into a copy.

    An interrupted run continues it.
    """
    found, guided = matches(database), database.with_name("guided.db")
    ranked = sorted(found, key=lambda pair: -found[pair])
    missing = sorted({name for pair in found for name in pair} - {*placed})
    chosen = {pair for name in missing for pair in [p for p in ranked if name in p][:_NUM_GUIDED]}
    wanted = [pair for pair in ranked if pair in chosen][:_MAX_GUIDED]
    if not guided.exists():
        with atomic_write(guided) as aside:
            shutil.copyfile(database, aside)
            with _opened(aside) as opened:
                ids = {image.name: image.image_id for image in opened.read_all_images()}
                for first, second in wanted:
                    opened.delete_matches(ids[first], ids[second])
                    opened.delete_two_view_geometry(ids[first], ids[second])
    match(guided, sorted(wanted), guided=True)
    return guided


def _incremental(
    database: Path, images: Path, out: Path, total: int, *, min_angle: float
) -> dict[int, Any]:
    """Incremental mapping, from two photos that see points at ``min_angle`` degrees or more."""
    pycolmap = load()
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed, options.min_model_size = _SEED, _MIN_PHOTOS
    options.mapper.init_min_tri_angle = min_angle
    placed, start = 0, time.monotonic()
    with Progress("placed", total) as progress:

        def add(count: int) -> None:
            nonlocal placed
            placed = count if count == 2 else placed + count  # a pair begins a new model
            progress.update(placed, f"after {duration(time.monotonic() - start)}")

        return pycolmap.incremental_mapping(
            *(database, images, out, options),
            initial_image_pair_callback=lambda: add(2),
            next_image_callback=lambda: add(1),
        )


_ANGLES = {
    "incremental mapping": 16.0,  # COLMAP's default
    # For photos from one side: of LLFF's flower, all 25 are placed, and none or two by the first.
    "incremental mapping from a smaller angle": 4.0,
}
_GUIDED = "incremental mapping with guided matching"
"""For large steps: of 13 of the kitchen's photos all are placed, and 6 without it; of 25 all, and
24 without it. It is slow, and of the 13 the centres are less accurate (by 1 % of the extent instead
of 0.3 %).

Not global mapping: it placed nearly all of such photos, but in half of the models some of them were
wrong by more than 80 degrees, at a mean reprojection error of 0.2 to 0.9 px."""


def reconstruct(database: Path, images: Path, total: int, linked: int) -> tuple[str, list[Any]]:
    """Reconstruct the cameras and sparse points from the matches of ``total`` photos.

    Attempts are made until one places nearly all of the ``linked`` photos that matches connect;
    those that are left are matched once more.

    Returns:
        The attempt that placed the most photos, with the lowest error among equals: its name and
        ``pycolmap.Reconstruction``, the largest first, whose cameras are OPENCV; maybe none.
    """
    best, models, placed = "", list[Any](), set[str]()
    for name in (*_ANGLES, _GUIDED):
        enough = linked if name == _GUIDED else _NEARLY_ALL * linked
        if len(placed) >= enough or linked < _MIN_PHOTOS:
            continue
        say(f"placed {len(placed)} of {total} photos; trying again: {name}" if best else name)
        source = match_guided(database, placed) if name == _GUIDED else database
        angle = _ANGLES.get(name, 4.0)
        with tempfile.TemporaryDirectory() as folder:
            found = _incremental(source, images, Path(folder), total, min_angle=angle).values()
        usable = [model for model in found if model.num_reg_images() >= _MIN_PHOTOS]
        usable.sort(key=_rank, reverse=True)
        if not best or [*map(_rank, usable[:1])] > [*map(_rank, models[:1])]:
            best, models = name, usable
            placed = {image.name for model in models[:1] for image in placed_images(model)}
    return best, [*map(_refined, models[:1]), *models[1:]]


def _rank(model: Any) -> tuple[int, float]:
    return model.num_reg_images(), -model.compute_mean_reprojection_error()


def _refined(model: Any) -> Any:
    """A model with OPENCV cameras, all of whose parameters were adjusted together.

    Few photos, or photos from one side, may not determine two focal lengths and four terms of
    distortion: the simple lens is kept if a focal length changes by more than a tenth.
    """
    pycolmap = load()
    simple = [camera for camera in model.cameras.values() if camera.model_name == _SIMPLE_LENS]
    for camera in simple:
        focal, cx, cy, k1 = camera.params
        camera.model = pycolmap.CameraModelId.OPENCV
        camera.params = [focal, focal, cx, cy, k1, 0, 0, 0]
    if not simple:  # a folder that was made with OPENCV cameras
        return model
    refined, config = copy.deepcopy(model), pycolmap.BundleAdjustmentConfig()
    for image_id in model.reg_image_ids():
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    pycolmap.create_default_bundle_adjuster(options, config, refined).solve()
    refined.update_point_3d_errors()
    before, after = (
        [cam.params[:2] for _, cam in sorted(each.cameras.items())] for each in (model, refined)
    )
    return refined if np.allclose(after, before, rtol=0.1) else model


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
