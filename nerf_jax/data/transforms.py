"""Captures as instant-ngp and nerfstudio write them: photos beside one ``transforms.json``.

The file holds ``frames``; each has a ``file_path`` (from the file's folder, with or without a
suffix) and a 4x4 ``transform_matrix``, which is ``world_from_camera`` in this package's axes. Of
the camera, any of these may stand in the file, for all frames, or in a frame, which goes first:

- ``fl_x``, ``fl_y`` in pixels, or ``camera_angle_x``, ``camera_angle_y`` in radians, or ``x_fov``,
  ``y_fov`` in degrees: one axis is enough where pixels are square;
- ``w``, ``h``, ``cx``, ``cy`` in pixels; else the photo's own size, and its middle;
- ``k1`` to ``k4``, ``p1``, ``p2`` as OpenCV names them; ``camera_model`` or ``is_fisheye``.

Besides: ``mask_path`` of a frame, ``train_filenames``, ``val_filenames`` and ``test_filenames``,
``ply_file_path`` (points, in the frame of the poses), ``colmap_path`` (the sparse model that the
poses are from, in the same frame: points, and which of them each photo of the folder ``images``
shows), and ``up``.

Other fields change no ray and are not read. ``scale``, ``offset``, ``aabb`` and ``aabb_scale``
place the scene in instant-ngp's own box; ``applied_transform`` and ``applied_scale`` are what
nerfstudio has applied to these poses already, and say how to go back to COLMAP's. The few that
would change rays in a way unknown here are refused.
"""

import math
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_jax.config import DataConfig
from nerf_jax.data import colmap
from nerf_jax.data.capture import Capture, Sightings, to_scene
from nerf_jax.data.images import read_header
from nerf_jax.data.intrinsics import Intrinsics, check, to_cameras
from nerf_jax.data.json_fields import Fields, read_object
from nerf_jax.data.ply import read_points
from nerf_jax.data.scene import Scene

FILE = "transforms.json"
SPLITS = ("train", "val", "test")

_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG", ".webp")
_UNKNOWN = {
    "transform_matrix_start": "a camera that moves while it is exposed",
    "ftheta_p0": "an f-theta lens",
    "latlong": "a panorama",
    "equirectangular": "a panorama",
}


def find(root: Path) -> Path | None:
    """The transforms file that ``root``, a folder or the file itself, is a capture by; or None."""
    path = root / FILE if root.is_dir() else root
    # Any other JSON may lie beside captures; none is opened to see.
    named = path.name.startswith("transforms") and path.suffix == ".json"
    return path if named and path.is_file() else None


def load(root: Path, config: DataConfig) -> Scene:
    """The capture at ``root``; its images are read when a split is asked for.

    Raises:
        OSError, ValueError: as :func:`read`.
    """
    return to_scene(read(root), config)


def read(root: Path) -> Capture:
    """What the transforms file at ``root`` says: its photos by name, those that exist.

    Args:
        root: the folder, or the file.

    Raises:
        OSError: a file that is named cannot be read, or none of the photos is there.
        ValueError: a field is not as it should be, or there is no such file.
    """
    path = find(root)
    if path is None:
        raise ValueError(f"{root}: no capture; expected a folder with {FILE}, or such a file")
    file = read_object(path)
    listed = file.objects("frames", "frame")
    for fields in (file, *listed):
        _refuse_unknown(fields)
    frames = [(_photo(path, frame), frame) for frame in listed]
    there = sorted((pair for pair in frames if pair[0].is_file()), key=lambda pair: str(pair[0]))
    if not there:
        raise FileNotFoundError(
            f"{path}: none of its {len(frames)} photos is there, such as {frames[0][0]}; copy them "
            "there, or correct file_path"
        )
    intrinsics = [_intrinsics(file, frame, photo) for photo, frame in there]
    photos = tuple(photo for photo, _ in there)
    points, sightings = _points(path, file, photos)
    return Capture(
        name=path.resolve().parent.name,
        source=str(path),
        photos=photos,
        cameras=to_cameras(np.stack([frame.pose() for _, frame in there]), intrinsics),
        size_hw=np.array([[camera.height, camera.width] for camera in intrinsics], int),
        masks=_masks(path, [frame for _, frame in there]),
        splits=_splits(path, file, photos, {photo for photo, _ in frames}),
        points=points,
        sightings=sightings,
        missing=len(frames) - len(there),
        up=_up(file),
    )


def _refuse_unknown(fields: Fields) -> None:
    for name, what in _UNKNOWN.items():
        if name in fields and fields.values[name] is not False:
            raise ValueError(
                f"{fields.where}{name} is that of {what}, which is not supported; make the capture "
                "with pinhole, OpenCV or fisheye cameras"
            )


def _photo(path: Path, frame: Fields) -> Path:
    expected = f"be the photo's path from the folder of {path.name}, such as 'images/0001.jpg'"
    return _locate(path.parent, frame.text("file_path", expected))


def _locate(folder: Path, name: str) -> Path:
    """The file of that name, with or without its suffix; where it should be if it is not there."""
    name = name.replace("\\", "/")  # as written on Windows
    names = [name, *(f"{name}{suffix}" for suffix in _SUFFIXES)]
    return next((folder / each for each in names if (folder / each).is_file()), folder / name)


def _intrinsics(file: Fields, frame: Fields, photo: Path) -> Intrinsics:
    """The camera of a frame, from what is in the frame and else in the file."""

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
    return frame if name in frame else file


def _size(file: Fields, frame: Fields, photo: Path) -> tuple[float, float]:
    """Height and width that the intrinsics are for."""
    holders = {name: _holder(file, frame, name) for name in ("h", "w")}
    if not any(name in fields for name, fields in holders.items()):
        return read_header(photo).stored_hw  # before any turn that EXIF asks for
    expected = "be the photo's size in pixels, w and h together"
    height, width = (fields.number(name, expected=expected) for name, fields in holders.items())
    return height, width


def _focal(
    file: Fields, frame: Fields, sides: tuple[float, float], fisheye: bool
) -> tuple[float, float]:
    """Along x and y. The frame's go first, all together, so that its pixels stay square."""
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
    """Of one axis, in the order in which instant-ngp looks for it."""
    degrees, pixels, radians = f"{axis}_fov", f"fl_{axis}", f"camera_angle_{axis}"
    name = next((name for name in (degrees, pixels, radians) if name in fields), None)
    if name is None or name == pixels:
        return None if name is None else fields.number(name)
    if fisheye:  # the tangent below is a pinhole's
        raise fields.error(pixels, f"be the focal length in pixels: {name} is none of a fisheye")
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


def _masks(path: Path, frames: Sequence[Fields]) -> tuple[Path | None, ...]:
    masks = tuple(_mask(path, frame) for frame in frames)
    return masks if any(masks) else ()


def _mask(path: Path, frame: Fields) -> Path | None:
    if "mask_path" not in frame:
        return None
    mask = _locate(path.parent, frame.text("mask_path", "be the path of an image"))
    if not mask.is_file():
        raise FileNotFoundError(
            f"{frame.where}mask_path: {mask} is not there; copy it there, or remove the field"
        )
    return mask


def _splits(
    path: Path, file: Fields, photos: Sequence[Path], listed: Set[Path]
) -> dict[str, tuple[int, ...]]:
    """The numbers of the photos of each split; ``listed`` are all that frames name."""
    splits = {}
    for split in SPLITS:
        name = f"{split}_filenames"
        if name not in file:
            continue
        wanted = {_locate(path.parent, text) for text in file.texts(name, "be a list of paths")}
        if wanted - listed:
            raise ValueError(
                f"{path}: {name} has {min(wanted - listed)}, which is no frame's file_path; "
                "correct it or remove it"
            )
        splits[split] = tuple(number for number, photo in enumerate(photos) if photo in wanted)
    if not splits.get("train", True):
        raise file.error("train_filenames", "list a photo that is there")
    return {split: numbers for split, numbers in splits.items() if numbers}


def _points(
    path: Path, file: Fields, photos: Sequence[Path]
) -> tuple[Float[np.ndarray, "P 3"], tuple[Sightings, ...]]:
    """What the model holds, else the cloud; they help and are not needed: none if neither was
    copied along.
    """
    if "colmap_path" in file:
        expected = "be the path of a folder with a COLMAP model"
        model = colmap.find(path.parent / file.text("colmap_path", expected))
        if model is not None:
            return colmap.read_sparse(model, path.parent / colmap.PHOTOS, photos)
    if "ply_file_path" in file:
        cloud = path.parent / file.text("ply_file_path", "be the path of a PLY file")
        if cloud.is_file():
            return read_points(cloud), ()
    return np.zeros((0, 3)), ()


def _up(file: Fields) -> Float[np.ndarray, "3"] | None:
    if "up" not in file:
        return None
    up = file.vector("up", 3)
    if not np.linalg.norm(up) > 0:
        raise file.error("up", "have a length")
    return up / np.linalg.norm(up)
