"""Captures as COLMAP writes them: photos in ``images``, and a sparse model, as text or binary.

A model is a folder, usually ``sparse/0``, with ``cameras`` (lenses), ``images`` (poses) and
``points3D``, all of them ``.bin`` or all ``.txt`` (:mod:`nerf_jax.data.colmap_files`). A pose is
``camera_from_world``, a quaternion and a translation, in camera axes x right, y down, z forward;
what leaves this file is ``world_from_camera`` in this package's axes. Pixels are counted alike.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_jax.config import DataConfig
from nerf_jax.data.capture import Capture, Sightings, to_scene
from nerf_jax.data.colmap_files import (
    MODELS,
    Camera,
    Image,
    read_cameras,
    read_images,
    read_points,
    unsupported,
)
from nerf_jax.data.intrinsics import Intrinsics, check, to_cameras
from nerf_jax.data.scene import Scene

PHOTOS = "images"
PLACES = ("sparse/0", "sparse", "colmap/sparse/0", ".")
"""Where in a capture's folder the model may be."""

_FROM_COLMAP = np.array([1.0, -1.0, -1.0])  # x stays; y and z turn round
# Poses written by hand have few digits; what is further from a unit is another order of numbers.
_UNIT_TOLERANCE = 0.1


def find(root: Path) -> Path | None:
    """The folder of the sparse model that the capture in the folder ``root`` has; or None."""
    models = (root / place for place in PLACES)
    return next((model for model in models if _suffix(model)), None)


def load(root: Path, config: DataConfig) -> Scene:
    """The capture in the folder ``root``; its images are read when a split is asked for.

    Raises:
        OSError, ValueError: as :func:`read`.
    """
    return to_scene(read(root), config)


def read(root: Path) -> Capture:
    """What the model in the folder ``root`` says: its photos by name, those that exist.

    Raises:
        OSError: a file cannot be read, or none of the photos is there.
        ValueError: the files are not as they should be, or a camera that a photo is by is of a
            model that is not supported; or there is no sparse model.
    """
    model = find(root)
    if model is None:
        raise ValueError(
            f"{root}: no COLMAP model; expected cameras and images, .bin or .txt, in "
            f"{', '.join(PLACES[:-1])} or the folder itself"
        )
    suffix = _suffix(model)
    cameras_path, images_path = (model / f"{name}{suffix}" for name in ("cameras", "images"))
    cameras = read_cameras(cameras_path)
    images = list(read_images(images_path).values())
    there = _photos(root / PHOTOS, images, images_path)
    poses = np.stack([_pose(image, images_path) for image in there.values()])
    by = [_camera_of(image, cameras, cameras_path) for image in there.values()]
    intrinsics = [_intrinsics(camera, cameras_path) for camera in by]
    points, sightings = _sparse(model, list(there.values()))
    return Capture(
        name=root.resolve().name,
        source=str(model),
        photos=tuple(there),
        cameras=to_cameras(poses, intrinsics),
        size_hw=np.array([[camera.height, camera.width] for camera in intrinsics], int),
        points=points,
        sightings=sightings,
        missing=len(images) - len(there),
    )


def read_sparse(
    model: Path, folder: Path, photos: Sequence[Path]
) -> tuple[Float[np.ndarray, "P 3"], tuple[Sightings, ...]]:
    """The points of a model, in its frame, and which of them each photo shows.

    Args:
        model: its folder, as :func:`find` finds it.
        folder: of the images that it names.
        photos: files; those that it does not name show none.

    Raises:
        OSError, ValueError: as :func:`read`.
    """
    images = read_images(model / f"images{_suffix(model)}").values()
    named = {folder / image.name: image for image in images}
    return _sparse(model, [named.get(photo) for photo in photos])


def _sparse(
    model: Path, images: Sequence[Image | None]
) -> tuple[Float[np.ndarray, "P 3"], tuple[Sightings, ...]]:
    path = model / f"points3D{_suffix(model)}"
    points = read_points(path) if path.is_file() else np.zeros((0, 4))
    numbers = points[:, 0]

    def seen(image: Image | None) -> Sightings:
        features = np.zeros((0, 3)) if image is None else image.features
        features = features[np.isin(features[:, 2], numbers)]
        return Sightings(np.searchsorted(numbers, features[:, 2]), features[:, :2])

    return points[:, 1:], tuple(map(seen, images))


def _suffix(model: Path) -> str | None:
    """How the files of a model end; as COLMAP does, binary ones are taken where there are both."""
    for suffix in (".bin", ".txt"):
        if all((model / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
            return suffix
    return None


def _photos(folder: Path, images: list[Image], path: Path) -> dict[Path, Image]:
    """The photos that exist, by name."""
    listed: dict[Path, Image] = {}
    for image in images:
        if folder / image.name in listed:
            raise ValueError(f"{path}: holds the image {image.name!r} twice; write the model again")
        listed[folder / image.name] = image
    there = {photo: listed[photo] for photo in sorted(listed, key=str) if photo.is_file()}
    if not there:
        example = f", such as {next(iter(listed))}" if listed else ""
        raise FileNotFoundError(
            f"{path}: none of its {len(images)} photos is there{example}; copy them to {folder}"
        )
    return there


def _pose(image: Image, path: Path) -> Float[np.ndarray, "3 4"]:
    """``world_from_camera`` in this package's axes."""
    where = f"{path}: image {image.number} ({image.name!r})"
    quaternion, translation = np.array(image.quaternion), np.array(image.translation)
    length = np.linalg.norm(np.clip(quaternion, -2, 2))  # so that squares are finite
    if not abs(length - 1) <= _UNIT_TOLERANCE:  # also when it is nan
        raise ValueError(
            f"{where}: the quaternion QW QX QY QZ must be of length 1, but is "
            f"{' '.join(f'{value:g}' for value in quaternion)}; write the model again"
        )
    if not np.all(np.abs(translation) <= np.finfo(np.float32).max):
        raise ValueError(
            f"{where}: the translation TX TY TZ must be finite, but is "
            f"{' '.join(f'{value:g}' for value in translation)}; write the model again"
        )
    world_from_camera = _rotation(quaternion / length).T
    origin = -world_from_camera @ translation
    return np.concatenate([world_from_camera * _FROM_COLMAP, origin[:, None]], axis=1)


def _rotation(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """The matrix of a unit quaternion w, x, y, z."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _camera_of(image: Image, cameras: dict[int, Camera], path: Path) -> Camera:
    if image.camera not in cameras:
        raise ValueError(
            f"{path}: holds no camera {image.camera}, which image {image.number} ({image.name!r}) "
            "is by; write the model again"
        )
    return cameras[image.camera]


def _intrinsics(camera: Camera, path: Path) -> Intrinsics:
    if camera.model not in MODELS:
        raise unsupported(path, camera.number, camera.model)
    where, names = f"{path}: camera {camera.number}", MODELS[camera.model][1]
    if len(names) != len(camera.parameters):
        raise ValueError(
            f"{where}: a {camera.model} has the parameters {' '.join(names)}, but there are "
            f"{len(camera.parameters)} numbers; write the model again"
        )
    value = dict(zip(names, camera.parameters, strict=True))
    if any(value.get(name) for name in ("d1", "d2", "d3")):
        raise unsupported(path, camera.number, f"{camera.model} with k4 to k6 that are not 0")

    def coefficient(name: str) -> float:
        return value.get(name, 0.0)

    intrinsics = Intrinsics(
        camera.height,
        camera.width,
        focal=(value["fx"], value["fy"]) if "fx" in value else (value["f"], value["f"]),
        principal=(value["cx"], value["cy"]),
        radial=(coefficient("k1"), coefficient("k2"), coefficient("k3"), coefficient("k4")),
        tangential=(coefficient("p1"), coefficient("p2")),
        fisheye="FISHEYE" in camera.model,
    )
    check(intrinsics, where)
    return intrinsics
