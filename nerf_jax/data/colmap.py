"""COLMAP captures: photos in ``images`` and a sparse model, as text or binary.

A model is a folder, usually ``sparse/0``, with the files ``cameras`` (intrinsics), ``images``
(poses) and ``points3D``, all ``.bin`` or all ``.txt`` (:mod:`nerf_jax.data.colmap_files`). A pose
is ``camera_from_world``, a quaternion and a translation, in camera axes x right, y down, z forward.
This module converts it to ``world_from_camera`` in this package's axes. Pixel coordinates agree.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_jax.config import DataConfig
from nerf_jax.data.capture import Capture, Observations, to_scene
from nerf_jax.data.colmap_files import (
    MODELS,
    Camera,
    Image,
    read_cameras,
    read_images,
    read_points,
    unsupported,
)
from nerf_jax.data.intrinsics import MAX_FLOAT32, Intrinsics, check, divide_radial, to_cameras
from nerf_jax.data.photo_files import (
    IMAGE_FOLDER,
    Finder,
    image_folders,
    locate_photos,
    natural,
    unlisted,
)
from nerf_jax.data.scene import Scene

MODEL_FOLDERS = ("sparse", "colmap/sparse", ".")
"""The folders of a capture with models, or their folders, in the order of the search."""

_FROM_COLMAP = np.array([1.0, -1.0, -1.0])  # the axes y and z point the other way
# Poses written by hand have few digits; a larger error means another order of the numbers.
_UNIT_TOLERANCE = 0.1


def find(root: Path) -> Path | None:
    """The largest sparse model of the capture in the folder ``root``; None if there is none."""
    return next(iter(_models(root)), None)


def _models(root: Path) -> list[Path]:
    """The models of a capture, by folder, and the largest of a folder first."""
    models: list[Path] = []
    for folder in (root / name for name in MODEL_FOLDERS):
        inside = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        if folder == root:  # which may be a collection of captures
            inside = [path for path in inside if path.name.isdecimal()]
        found = [path for path in (*sorted(inside, key=natural), folder) if _suffix(path)]
        models += sorted(found, key=_num_photos, reverse=True) if len(found) > 1 else found
    return models


def _num_photos(model: Path) -> int:
    """0 if the model is damaged."""
    try:
        return len(read_images(model / f"images{_suffix(model)}"))
    except ValueError:
        return 0


def knows_lens(root: Path) -> bool:
    """Whether the model has a lens that LLFF's files cannot describe: more than a focal length."""
    model = find(root)
    if model is None:
        return False
    path = model / f"cameras{_suffix(model)}"
    try:
        cameras = [_intrinsics(camera, path) for camera in read_cameras(path).values()]
    except ValueError:
        return False

    def is_simple(camera: Intrinsics) -> bool:
        offset = np.subtract(camera.principal, (camera.width / 2, camera.height / 2))
        is_square = np.isclose(*camera.focal, rtol=1e-3)
        has_lens = any((*camera.radial, *camera.tangential, camera.fisheye))
        return bool(is_square and not has_lens and np.abs(offset).max() <= 1)

    return not all(map(is_simple, cameras))


def load(root: Path, config: DataConfig) -> Scene:
    """The capture in the folder ``root``, its images read on request; raises as :func:`read`."""
    return to_scene(read(root, config.downscale), config)


def read(root: Path, downscale: int = 1) -> Capture:
    """Read the largest model in the folder ``root``, with the photos that exist, in natural order.

    Args:
        root: the capture, or a model in it.
        downscale: photos in a folder such as ``images_4`` are preferred, if it reduces to that.

    Raises:
        OSError: a file cannot be read, or no photo exists.
        ValueError: there is no sparse model, a file is malformed, or the camera model of a photo
            is not supported.
    """
    models = _models(root)
    if not models:
        raise ValueError(
            f"{root}: no COLMAP model; expected cameras and images, .bin or .txt, in "
            f"{', '.join(f'{folder}/0' for folder in MODEL_FOLDERS[:-1])} or the folder itself"
        )
    model, *others = models
    suffix = _suffix(model)
    cameras_path, images_path = (model / f"{name}{suffix}" for name in ("cameras", "images"))
    cameras, listed = read_cameras(cameras_path), list(read_images(images_path).values())
    folder = _capture_folder(root, model)
    located = locate_photos(
        *(images_path, folder, [image.name for image in listed], downscale),
        pose=lambda index: _pose(listed[index], images_path),
        prefix=f"{IMAGE_FOLDER}/",
    )
    images = [listed[index] for index in located.indices]
    intrinsics = [
        _intrinsics(_camera_of(image, cameras, cameras_path), cameras_path) for image in images
    ]
    unused = [
        f"not used: the model {path}, with {_num_photos(path)} photos instead of {len(listed)}; "
        f"--data.root {path} reads it"
        for path in others
    ]
    return Capture(
        name=folder.resolve().name,
        source=str(model),
        photos=located.photos,
        cameras=to_cameras(np.stack([_pose(image, images_path) for image in images]), intrinsics),
        size_hw=np.array([[camera.height, camera.width] for camera in intrinsics], int),
        observations=_observations(model, images),
        root=folder,
        factor=located.factor,
        notes=(*unused, *located.notes, *unlisted(located.photos)),
    )


def _capture_folder(root: Path, model: Path) -> Path:
    """The folder with the folders of photos: ``root``, or if that is a model, one above it."""
    above = root.resolve().parents[:3] if root in (model, model.parent) else ()
    return next((each for each in (root, *above) if image_folders(each)), root)


def read_observations(
    model: Path, finder: Finder, photos: Sequence[Path]
) -> tuple[Observations, ...]:
    """Read the points, in the frame of a model, that each photo observes.

    Args:
        model: its folder, from :func:`find`.
        finder: of the files below the capture's folder.
        photos: files; a photo that the model does not name observes none.

    Raises:
        OSError, ValueError: as :func:`read`.
    """
    images = read_images(model / f"images{_suffix(model)}").values()
    found = {finder.find(f"{IMAGE_FOLDER}/{image.name}"): image for image in images}
    return _observations(model, [found.get(photo) for photo in photos])


def _observations(model: Path, images: Sequence[Image | None]) -> tuple[Observations, ...]:
    path = model / f"points3D{_suffix(model)}"
    points = read_points(path) if path.is_file() else np.zeros((0, 4))
    ids, positions = points[:, 0], points[:, 1:]

    def observed(image: Image | None) -> Observations:
        features = np.zeros((0, 3)) if image is None else image.features
        features = features[np.isin(features[:, 2], ids)]
        return Observations(positions[np.searchsorted(ids, features[:, 2])], features[:, :2])

    return tuple(map(observed, images))


def _suffix(model: Path) -> str | None:
    """The suffix of a model's files; binary files take precedence, as in COLMAP."""
    for suffix in (".bin", ".txt"):
        if all((model / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
            return suffix
    return None


def _pose(image: Image, path: Path) -> Float[np.ndarray, "3 4"]:
    """``world_from_camera`` in this package's axes."""
    where = f"{path}: image {image.id} ({image.name!r})"
    quaternion, translation = np.array(image.quaternion), np.array(image.translation)
    length = np.linalg.norm(np.clip(quaternion, -2, 2))  # clipped so that squares are finite
    if not abs(length - 1) <= _UNIT_TOLERANCE:  # true for nan
        raise ValueError(
            f"{where}: the quaternion QW QX QY QZ must be of length 1, but is "
            f"{' '.join(f'{value:g}' for value in quaternion)}; export the model again"
        )
    if not np.all(np.abs(translation) <= MAX_FLOAT32):
        raise ValueError(
            f"{where}: the translation TX TY TZ must be finite, but is "
            f"{' '.join(f'{value:g}' for value in translation)}; export the model again"
        )
    world_from_camera = _rotation(quaternion / length).T
    origin = -world_from_camera @ translation
    return np.concatenate([world_from_camera * _FROM_COLMAP, origin[:, None]], axis=1)


def _rotation(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """The rotation matrix of a unit quaternion w, x, y, z."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _camera_of(image: Image, cameras: dict[int, Camera], path: Path) -> Camera:
    if image.camera_id not in cameras:
        raise ValueError(
            f"{path}: contains no camera {image.camera_id}, which image {image.id} "
            f"({image.name!r}) refers to; export the model again"
        )
    return cameras[image.camera_id]


def _intrinsics(camera: Camera, path: Path) -> Intrinsics:
    if camera.model not in MODELS:
        raise unsupported(path, camera.id, camera.model)
    where, names = f"{path}: camera {camera.id}", MODELS[camera.model][1]
    if len(names) != len(camera.parameters):
        raise ValueError(
            f"{where}: a {camera.model} has the parameters {' '.join(names)}, but there are "
            f"{len(camera.parameters)} numbers; export the model again"
        )
    value = dict.fromkeys(("k1", "k2", "k3", "k4", "p1", "p2", "d1", "d2", "d3"), 0.0)
    value |= dict(zip(names, camera.parameters, strict=True))
    intrinsics = Intrinsics(
        camera.height,
        camera.width,
        focal=(value["fx"], value["fy"]) if "fx" in value else (value["f"], value["f"]),
        principal=(value["cx"], value["cy"]),
        radial=(value["k1"], value["k2"], value["k3"], value["k4"]),
        tangential=(value["p1"], value["p2"]),
        fisheye="FISHEYE" in camera.model,
    )
    check(intrinsics, where)
    return divide_radial(intrinsics, (value["d1"], value["d2"], value["d3"]), where)
