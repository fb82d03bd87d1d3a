"""COLMAP's reconstruction of cameras and sparse points, in several attempts.

The lens of a photo is COLMAP's SIMPLE_RADIAL until the photos are placed, and OPENCV's then.
"""

import copy
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nerf_jax.app.prepare import colmap
from nerf_jax.app.progress import Progress, duration, say

_MIN_PHOTOS = 3
"""A model of fewer photos is of no use."""
_NEARLY_ALL = 0.9
"""The fraction of the photos at which no other attempt is made."""


class Attempt(NamedTuple):
    """A way to find the cameras, and what it found."""

    name: str
    models: list[Any]
    """``pycolmap.Reconstruction``; the one with the most photos first."""


def reconstruct(database: Path, images: Path, total: int, linked: int) -> Attempt:
    """Reconstruct the cameras and sparse points from the matches of ``total`` photos.

    Attempts are made until one places nearly all of the ``linked`` photos that matches connect.

    Returns:
        The attempt that placed the most photos, with the lowest error among equals; the cameras
        of its first model are OPENCV. Without a model if no attempt placed three photos.
    """
    best = Attempt("", [])
    for number, (name, mapping) in enumerate(_ATTEMPTS.items() if linked >= _MIN_PHOTOS else ()):
        placed = _rank(best)[0]
        if placed >= _NEARLY_ALL * linked:
            break
        say(f"placed {placed} of {total} photos; trying again: {name}" if number else name)
        with tempfile.TemporaryDirectory() as folder:
            models = mapping(database, images, Path(folder), total)
        best = max(best, Attempt(name, _largest_first(models)), key=_rank)
    return best._replace(models=[*map(_refined, best.models[:1]), *best.models[1:]])


def _largest_first(models: dict[int, Any]) -> list[Any]:
    usable = [model for model in models.values() if model.num_reg_images() >= _MIN_PHOTOS]
    return sorted(usable, key=lambda model: model.num_reg_images(), reverse=True)


def _rank(attempt: Attempt) -> tuple[int, float]:
    """Attempts with more photos are better, then those with a lower error."""
    if not attempt.models:
        return 0, 0.0
    largest = attempt.models[0]
    return largest.num_reg_images(), -largest.compute_mean_reprojection_error()


def _incremental(
    database: Path, images: Path, out: Path, total: int, *, min_angle: float
) -> dict[int, Any]:
    """Incremental mapping, from two photos that see points at ``min_angle`` degrees or more."""
    pycolmap = colmap.load()
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = _MIN_PHOTOS
    options.mapper.init_min_tri_angle = min_angle
    placed, start = 0, time.monotonic()
    with Progress("placed", total) as progress:

        def add(count: int) -> None:
            nonlocal placed
            placed = count if count == 2 else placed + count  # a pair begins a new model
            progress.update(placed, f"after {duration(time.monotonic() - start)}")

        return pycolmap.incremental_mapping(
            database,
            images,
            out,
            options,
            initial_image_pair_callback=lambda: add(2),
            next_image_callback=lambda: add(1),
        )


def _guided(database: Path, images: Path, out: Path, total: int) -> dict[int, Any]:
    return _incremental(colmap.match_guided(database), images, out, total, min_angle=4.0)


_ATTEMPTS: dict[str, Callable[[Path, Path, Path, int], dict[int, Any]]] = {
    "incremental mapping": functools.partial(_incremental, min_angle=16.0),  # COLMAP's default
    # For photos from one side: of LLFF's flower, all 25 are placed, and none or two by the first.
    "incremental mapping from a smaller angle": functools.partial(_incremental, min_angle=4.0),
    # For large steps between photos: of 13 of the kitchen's 25, all are placed, and 6 without it.
    # It takes longest, and the poses are less accurate (1 % of the extent, 0.3 % without it).
    "incremental mapping with guided matching": _guided,
}
"""From the fastest. Global mapping is not among them: it places more photos, but of random subsets
of the kitchen's it placed every other one wrongly, by more than 80 degrees, at 0.3 px."""


def _refined(model: Any) -> Any:
    """A model with OPENCV cameras, all of whose parameters were adjusted together.

    Few photos, or photos from one side, may not determine two focal lengths and four terms of
    distortion: the simple lens is kept if a focal length changes by more than a tenth.
    """
    pycolmap = colmap.load()
    simple = [
        camera for camera in model.cameras.values() if camera.model_name == colmap.SIMPLE_LENS
    ]
    if not simple:  # a folder that was made with OPENCV cameras
        return model
    for camera in simple:
        focal, cx, cy, k1 = camera.params
        camera.model = pycolmap.CameraModelId.OPENCV
        camera.params = [focal, focal, cx, cy, k1, 0, 0, 0]
    refined, config = copy.deepcopy(model), pycolmap.BundleAdjustmentConfig()
    for image_id in model.reg_image_ids():
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    pycolmap.create_default_bundle_adjuster(options, config, refined).solve()
    refined.update_point_3d_errors()
    kept = all(
        np.allclose(refined.camera(camera.camera_id).params[:2], camera.params[:2], rtol=0.1)
        for camera in simple
    )
    return refined if kept else model
