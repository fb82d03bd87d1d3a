"""Captures in the format of instant-ngp and nerfstudio: photos and one ``transforms.json``.

The file holds ``frames``; each has a ``file_path`` (relative to the file's folder, with or without
a suffix) and a 4x4 ``transform_matrix``, which is ``world_from_camera`` in this package's axes.
These fields may be in the file, for all frames, or in a frame, which takes precedence:

- ``fl_x``, ``fl_y`` in pixels, or ``camera_angle_x``, ``camera_angle_y`` in radians, or ``x_fov``,
  ``y_fov`` in degrees; one axis is enough for square pixels;
- ``w``, ``h``, ``cx``, ``cy`` in pixels; by default the photo's size and its centre;
- ``k1`` to ``k4``, ``p1``, ``p2`` as OpenCV names them; ``camera_model`` or ``is_fisheye``.

Optional fields: ``mask_path`` of a frame; ``train_filenames``, ``val_filenames`` and
``test_filenames``; ``up``; and ``colmap_path``, the sparse model of the poses in the same frame,
which gives the points that each photo of the folder ``images`` observes.

Other fields are ignored, since they change no ray. ``scale``, ``offset``, ``aabb`` and
``aabb_scale`` place the scene in instant-ngp's box; ``applied_transform`` and ``applied_scale`` are
already part of the poses. Fields that change rays in an unsupported way are refused.
"""

import math
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_jax.config import DataConfig
from nerf_jax.data import colmap
from nerf_jax.data.capture import Capture, Observations, existing_photos, to_scene
from nerf_jax.data.images import read_header
from nerf_jax.data.intrinsics import Intrinsics, check, to_cameras
from nerf_jax.data.json_fields import Fields, read_object
from nerf_jax.data.scene import Scene

FILE = "transforms.json"
SPLITS = ("train", "val", "test")

_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG", ".webp")
_UNSUPPORTED = {
    "transform_matrix_start": "a camera that moves during the exposure",
    "ftheta_p0": "an f-theta lens",
    "latlong": "a panorama",
    "equirectangular": "a panorama",
}


def find(root: Path) -> Path | None:
    """The transforms file at ``root``, a folder or the file itself; None if there is none."""
    path = root / FILE if root.is_dir() else root
    # Decided by the name: other JSON files next to captures are not opened.
    named = path.name.startswith("transforms") and path.suffix == ".json"
    return path if named and path.is_file() else None


def load(root: Path, config: DataConfig) -> Scene:
    """The capture at ``root``, its images read on request; raises as :func:`read`."""
    return to_scene(read(root), config)


def read(root: Path) -> Capture:
    """Read the transforms file at ``root``, with the photos that exist, sorted by path.

    Args:
        root: the folder, or the file.

    Raises:
        OSError: a file cannot be read, or no photo exists.
        ValueError: there is no such file, or a field is malformed.
    """
    path = find(root)
    if path is None:
        raise ValueError(f"{root}: no capture; expected a folder with {FILE}, or such a file")
    file = read_object(path)
    listed = file.objects("frames", "frame")
    for fields in (file, *listed):
        _refuse_unsupported(fields)
    expected = f"be the photo's path from the folder of {path.name}, such as 'images/0001.jpg'"
    all_photos = [_locate(path.parent, frame.text("file_path", expected)) for frame in listed]
    found = existing_photos(path, list(zip(all_photos, listed, strict=True)))
    photos, frames = tuple(photo for photo, _ in found), [frame for _, frame in found]
    intrinsics = [_intrinsics(file, frame, photo) for photo, frame in found]
    masks = tuple(_mask(path, frame) for frame in frames)
    return Capture(
        name=path.resolve().parent.name,
        source=str(path),
        photos=photos,
        cameras=to_cameras(np.stack([frame.pose() for frame in frames]), intrinsics),
        size_hw=np.array([[camera.height, camera.width] for camera in intrinsics], int),
        masks=masks if any(masks) else (),
        splits=_splits(path, file, photos, set(all_photos)),
        observations=_observations(path, file, photos),
        missing=len(listed) - len(found),
        up=_up(file),
    )


def _refuse_unsupported(fields: Fields) -> None:
    for name, camera in _UNSUPPORTED.items():
        if name in fields and fields.values[name] is not False:
            raise ValueError(
                f"{fields.where}{name} describes {camera}, which is not supported; make the "
                "capture with pinhole, OpenCV or fisheye cameras"
            )


def _locate(folder: Path, name: str) -> Path:
    """The file with a name that may lack the suffix; ``folder / name`` if it does not exist."""
    name = name.replace("\\", "/")  # written on Windows
    names = [name, *(f"{name}{suffix}" for suffix in _SUFFIXES)]
    return next((folder / each for each in names if (folder / each).is_file()), folder / name)


def _intrinsics(file: Fields, frame: Fields, photo: Path) -> Intrinsics:
    """The intrinsics of a frame."""

    def number(name: str, default: float) -> float:
        return _holder(file, frame, name).number(name, default)

    height, width = _size(file, frame, photo)
    fisheye = _is_fisheye(file, frame)
    camera = Intrinsics(
        height,
        width,
        focal=_focal(file, frame, (width, height), fisheye),
        principal=(number("cx", width / 2), number("cy", height / 2)),
        radial=(number("k1", 0.0), number("k2", 0.0), number("k3", 0.0), number("k4", 0.0)),
        tangential=(number("p1", 0.0), number("p2", 0.0)),
        fisheye=fisheye,
    )
    check(camera, frame.where.removesuffix("."))
    return camera


def _holder(file: Fields, frame: Fields, name: str) -> Fields:
    """The object that defines a field: the frame, else the file."""
    return frame if name in frame else file


def _size(file: Fields, frame: Fields, photo: Path) -> tuple[float, float]:
    """Height and width of the image that the intrinsics describe."""
    holders = {name: _holder(file, frame, name) for name in ("h", "w")}
    if not any(name in fields for name, fields in holders.items()):
        return read_header(photo).stored_hw  # before the rotation by EXIF
    expected = "be the photo's size in pixels, w and h together"
    height, width = (fields.number(name, expected=expected) for name, fields in holders.items())
    return height, width


def _focal(
    file: Fields, frame: Fields, sides: tuple[float, float], fisheye: bool
) -> tuple[float, float]:
    """Along x and y. A frame that defines one axis has square pixels, whatever the file defines."""
    for fields in (frame, file):
        along = [
            _focal_along(fields, axis, side, fisheye)
            for axis, side in zip("xy", sides, strict=True)
        ]
        known = [focal for focal in along if focal is not None]
        if known:
            return known[0], known[-1]
    raise frame.error("fl_x", "be the focal length in pixels, or camera_angle_x in radians")


def _focal_along(fields: Fields, axis: str, side: float, fisheye: bool) -> float | None:
    """The focal length of one axis; if several fields define it, instant-ngp's order decides."""
    degrees, pixels, radians = f"{axis}_fov", f"fl_{axis}", f"camera_angle_{axis}"
    name = next((name for name in (degrees, pixels, radians) if name in fields), None)
    if name is None or name == pixels:
        return None if name is None else fields.number(name)
    if fisheye:  # the formulas below are those of a pinhole
        raise fields.error(
            pixels, f"be the focal length in pixels: {name} cannot describe a fisheye"
        )
    if name == radians:
        return 0.5 * side / math.tan(0.5 * fields.angle(name, "a field of view"))
    angle = fields.number(name)
    if not 0.1 <= angle <= 179.9:
        raise fields.error(name, "be a field of view in degrees, between 0.1 and 179.9")
    return 0.5 * side / math.tan(0.5 * math.radians(angle))


def _is_fisheye(file: Fields, frame: Fields) -> bool:
    models, flags = (_holder(file, frame, name) for name in ("camera_model", "is_fisheye"))
    model, flag = models.values.get("camera_model"), flags.values.get("is_fisheye")
    if model is not None and model not in _MODELS:
        raise models.error("camera_model", f"be one of {', '.join(_MODELS)}: undistort the photos")
    if flag is not None and not isinstance(flag, bool):
        raise flags.error("is_fisheye", "be true or false")
    if model is None or flag is None:
        return bool(flag) or model == "OPENCV_FISHEYE"
    if flag != (model == "OPENCV_FISHEYE"):
        raise flags.error("is_fisheye", f"agree with camera_model, which is {model}")
    return flag


def _mask(path: Path, frame: Fields) -> Path | None:
    if "mask_path" not in frame:
        return None
    mask = _locate(path.parent, frame.text("mask_path", "be the path of an image"))
    if not mask.is_file():
        raise FileNotFoundError(
            f"{frame.where}mask_path: {mask} does not exist; copy it there, or remove the field"
        )
    return mask


def _splits(
    path: Path, file: Fields, photos: Sequence[Path], listed: Set[Path]
) -> dict[str, tuple[int, ...]]:
    """The indices of the photos of each split; ``listed`` are the photos of all frames."""
    splits = {}
    for split in SPLITS:
        name = f"{split}_filenames"
        if name not in file:
            continue
        members = {_locate(path.parent, text) for text in file.texts(name, "be a list of paths")}
        if members - listed:
            raise ValueError(
                f"{path}: {name} has {min(members - listed)}, which is not a frame's file_path; "
                "correct it or remove it"
            )
        splits[split] = tuple(index for index, photo in enumerate(photos) if photo in members)
    if not splits.get("train", True):
        raise file.error("train_filenames", "list a photo that exists")
    return {split: indices for split, indices in splits.items() if indices}


def _observations(path: Path, file: Fields, photos: Sequence[Path]) -> tuple[Observations, ...]:
    """From the sparse model; none if it is not there, since it is optional."""
    if "colmap_path" not in file:
        return ()
    expected = "be the path of a folder with a COLMAP model"
    model = colmap.find(path.parent / file.text("colmap_path", expected))
    if model is None:
        return ()
    return colmap.read_observations(model, path.parent / colmap.IMAGE_FOLDER, photos)


def _up(file: Fields) -> Float[np.ndarray, "3"] | None:
    if "up" not in file:
        return None
    up = file.vector("up", 3)
    if not np.linalg.norm(up) > 0:
        raise file.error("up", "have a length")
    return up / np.linalg.norm(up)
