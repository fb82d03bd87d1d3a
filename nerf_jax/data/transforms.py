"""Posed images in the formats of NeRF's Blender scenes, instant-ngp and nerfstudio.

``transforms.json``, or any ``transforms*.json``, holds ``frames``; each has a ``file_path``
(relative to the file's folder, found as :mod:`nerf_jax.data.photo_files` describes) and a
``transform_matrix`` of four or three rows, which is ``world_from_camera`` in this package's axes.
``transforms_train.json``, with ``transforms_val.json`` and ``transforms_test.json``, define splits.
These fields may be in a file, for all frames, or in a frame, which takes precedence:

- ``fl_x``, ``fl_y`` in pixels, or ``camera_angle_x``, ``camera_angle_y`` in radians, or ``x_fov``,
  ``y_fov`` in degrees; one axis is enough for square pixels;
- ``w``, ``h``, ``cx``, ``cy`` in pixels; by default the photo's size and its centre;
- ``k1`` to ``k4``, ``p1``, ``p2`` as OpenCV names them, ``k1`` to ``k6`` if the model is
  FULL_OPENCV; ``camera_model`` or ``is_fisheye``.

Optional fields: ``mask_path`` of a frame; ``train_filenames``, ``val_filenames`` and
``test_filenames``; ``up``; and ``colmap_path``, the sparse model of the poses in the same frame,
which gives the points that each photo of the folder ``images`` observes.

Fields that would change rays and are not supported are refused. Others are ignored: ``scale``,
``offset``, ``aabb`` and ``aabb_scale`` place the scene in instant-ngp's box; ``applied_transform``
and ``applied_scale`` are already part of the poses.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_jax.config import DataConfig
from nerf_jax.data import colmap
from nerf_jax.data.capture import Capture, Observations, to_scene
from nerf_jax.data.colmap_files import MODELS
from nerf_jax.data.images import read_header
from nerf_jax.data.intrinsics import PANORAMA, Intrinsics, check, divide_radial, to_cameras
from nerf_jax.data.json_fields import Fields, read_object
from nerf_jax.data.photo_files import Finder, Located, locate_photos, natural, unlisted
from nerf_jax.data.scene import Scene

FILE = "transforms.json"
SPLITS = ("train", "val", "test")

_FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y", "x_fov", "y_fov")
_LENS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
_KNOWN = {*_FOCAL, *_LENS, "cx", "cy", "w", "h", "camera_model", "is_fisheye"}
_PANORAMA_WORDS = re.compile("latlong|equirect|panorama|spherical", re.IGNORECASE)
_CAMERA_WORDS = re.compile(
    "intrinsic|principal|distort|shutter|mitsuba|ftheta|skew|crop_radius|matrix_(start|end)|"
    f"^c_[xy]$|^[kps][0-9]+$|^K$|{_PANORAMA_WORDS.pattern}",
    re.IGNORECASE,
)
"""In names of fields that describe a camera. A focal length is required, so others need not be."""


class _Frame(NamedTuple):
    """A frame and its file."""

    split: str
    file: Fields
    own: Fields

    def holder(self, name: str) -> Fields:
        """The object that defines a field: the frame, else the file."""
        return self.own if name in self.own else self.file


def find(root: Path) -> dict[str, Path]:
    """The transforms files at ``root``, a folder or a file, by split; empty if there are none.

    A file whose photos are not divided yet is under "". Of several, the largest is chosen.
    """
    if not root.is_dir():
        # Decided by the name: other JSON files next to captures are not opened.
        named = root.name.startswith("transforms") and root.suffix == ".json"
        return {"": root} if named and root.is_file() else {}
    splits = {split: root / f"transforms_{split}.json" for split in SPLITS}
    if splits["train"].is_file():
        return {split: path for split, path in splits.items() if path.is_file()}
    files = [path for path in sorted(root.glob("transforms*.json"), key=natural) if path.is_file()]
    chosen = max(files, key=lambda path: (path.name == FILE, path.stat().st_size), default=None)
    return {} if chosen is None else {"": chosen}


def find_blender(root: Path) -> dict[str, Path]:
    """The files at ``root``, if they define splits."""
    files = find(root)
    return files if "train" in files else {}


def is_blender(root: Path) -> bool:
    """Whether the files at ``root`` define splits, and cameras by an angle, without a lens.

    Such files are of renderings, in a world that is the scene's own.
    """
    files = find_blender(root)
    try:
        frames = _frames({split: read_object(path) for split, path in files.items()})
    except (OSError, ValueError):
        return False
    lens = (*_LENS, "is_fisheye")
    return bool(files) and all(
        "camera_angle_x" in frame.holder("camera_angle_x")
        and not any(frame.holder(name).values.get(name) for name in lens)
        for frame in frames
    )


def load(root: Path, config: DataConfig) -> Scene:
    """The capture at ``root``, its images read on request; raises as :func:`read`."""
    capture = read(root, config.downscale)
    return to_scene(replace(capture, notes=(*capture.notes, *unlisted(capture.photos))), config)


def load_blender(root: Path, config: DataConfig) -> Scene:
    """The same in the world of the files, with rays from 2 to 6 by default: NeRF's renderings."""
    near, far = config.bounds(2.0, 6.0)
    world = replace(config, normalize="none", near=near, far=far)
    return to_scene(read(root, config.downscale), world)


def read(root: Path, downscale: int = 1) -> Capture:
    """Read the transforms files at ``root``, with the photos that exist, in natural order.

    Args:
        root: the folder, or one file.
        downscale: photos in a folder such as ``images_4`` are preferred, if it reduces to that.

    Raises:
        OSError: a file cannot be read, or no photo exists.
        ValueError: there is no such file, or a field is malformed.
    """
    paths = find(root)
    if not paths:
        raise ValueError(
            f"{root}: no transforms file; expected a folder with {FILE} or transforms_train.json, "
            "or such a file"
        )
    source = next(iter(paths.values()))
    files = {split: read_object(path) for split, path in paths.items()}
    listed = _frames(files)
    for fields in (*files.values(), *(frame.own for frame in listed)):
        _refuse_unknown(fields)
    expected = f"be the photo's path from the folder of {source.name}, such as 'images/0001.jpg'"
    names = [frame.own.text("file_path", expected) for frame in listed]
    located = locate_photos(
        source, source.parent, names, downscale, pose=lambda index: listed[index].own.pose()
    )
    frames = [listed[index] for index in located.indices]
    pairs = zip(frames, located.photos, strict=True)
    intrinsics = [_intrinsics(frame, photo, located.factor) for frame, photo in pairs]
    others = sorted({*source.parent.glob("transforms*.json")} - {*paths.values()})
    unused = [f"not used: {path}; --data.root {path} reads it" for path in others if root.is_dir()]
    finder, (file, *_) = Finder(source.parent, located.factor), files.values()
    masks = tuple(_mask(finder, frame.own) for frame in frames)
    return Capture(
        name=source.resolve().parent.name,
        source=str(source if "" in paths else source.parent),
        photos=located.photos,
        cameras=to_cameras(np.stack([frame.own.pose() for frame in frames]), intrinsics),
        size_hw=np.array([[camera.height, camera.width] for camera in intrinsics], int),
        masks=masks if any(masks) else (),
        splits=_splits(files, listed, located, finder),
        observations=_observations(source, file, finder, located.photos),
        up=_up(file),
        root=source.parent,
        factor=located.factor,
        notes=(*unused, *located.notes),
    )


def _frames(files: Mapping[str, Fields]) -> list[_Frame]:
    return [
        _Frame(split, file, own)
        for split, file in files.items()
        for own in file.objects("frames", "frame")
    ]


def _refuse_unknown(fields: Fields) -> None:
    """Refuse fields that describe a camera in another way than this module knows."""
    for name, value in fields.values.items():
        if name in _KNOWN or not _CAMERA_WORDS.search(name) or not _is_set(value):
            continue
        if _PANORAMA_WORDS.search(name):
            raise ValueError(f"{fields.where}{name}: the image {PANORAMA}")
        raise ValueError(
            f"{fields.where}{name} would change the rays, but is not supported; describe the "
            f"camera by {', '.join(sorted(_KNOWN))}, or remove the field"
        )


def _is_set(value: object) -> bool:
    """False for zero, and for lists of zeros."""
    return any(map(_is_set, value)) if isinstance(value, list) else bool(value)


def _intrinsics(frame: _Frame, photo: Path, factor: int) -> Intrinsics:
    """The intrinsics of a frame, whose photo is shrunk by a factor."""

    def number(name: str, default: float = 0.0) -> float:
        return frame.holder(name).number(name, default)

    (height, width), where = _size(frame, photo, factor), frame.own.where.removesuffix(".")
    model = _model(frame)
    fisheye, rational = "FISHEYE" in model, model == "FULL_OPENCV"
    camera = Intrinsics(
        height,
        width,
        focal=_focal(frame, (width, height), fisheye),
        principal=(number("cx", width / 2), number("cy", height / 2)),
        radial=(number("k1"), number("k2"), number("k3"), 0.0 if rational else number("k4")),
        tangential=(number("p1"), number("p2")),
        fisheye=fisheye,
    )
    check(camera, where)
    denominator = (number("k4"), number("k5"), number("k6"))
    if rational:
        return divide_radial(camera, denominator, where)
    for name in ("k5", "k6"):
        if number(name):
            raise frame.holder(name).error(name, "be 0, unless camera_model is FULL_OPENCV")
    return camera


def _size(frame: _Frame, photo: Path, factor: int) -> tuple[float, float]:
    """Height and width of the image that the intrinsics describe."""
    holders = {name: frame.holder(name) for name in ("h", "w")}
    if not any(name in fields for name, fields in holders.items()):
        stored = read_header(photo).stored_hw  # before the rotation by EXIF
        return factor * stored[0], factor * stored[1]
    expected = "be the photo's size in pixels, w and h together"
    height, width = (fields.number(name, expected=expected) for name, fields in holders.items())
    return height, width


def _focal(frame: _Frame, sides: tuple[float, float], fisheye: bool) -> tuple[float, float]:
    """Along x and y. A frame that defines one axis has square pixels, whatever the file defines."""
    for fields in (frame.own, frame.file):
        along = [
            _focal_along(fields, axis, side, fisheye)
            for axis, side in zip("xy", sides, strict=True)
        ]
        known = [focal for focal in along if focal is not None]
        if known:
            return known[0], known[-1]
    raise frame.own.error("fl_x", "be the focal length in pixels, or camera_angle_x in radians")


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


def _model(frame: _Frame) -> str:
    """The camera model, by COLMAP's names in upper case."""
    models, flags = frame.holder("camera_model"), frame.holder("is_fisheye")
    flag = flags.values.get("is_fisheye")
    if flag is not None and not isinstance(flag, bool):
        raise flags.error("is_fisheye", "be true or false")
    if "camera_model" not in models:
        return "OPENCV_FISHEYE" if flag else "OPENCV"
    model = models.text("camera_model", "be the name of a camera model").upper()
    if _PANORAMA_WORDS.search(model):
        raise ValueError(f"{models.where}camera_model is {model}: the image {PANORAMA}")
    if model not in MODELS:
        raise models.error("camera_model", f"be one of {', '.join(MODELS)}: undistort the photos")
    if flag is not None and flag != ("FISHEYE" in model):
        raise flags.error("is_fisheye", f"agree with camera_model, which is {model}")
    return model


def _mask(finder: Finder, frame: Fields) -> Path | None:
    if "mask_path" not in frame:
        return None
    name = frame.text("mask_path", "be the path of an image")
    mask = finder.find(name)
    if mask is None:
        raise FileNotFoundError(
            f"{frame.where}mask_path: {name} does not exist; copy it there, or remove the field"
        )
    return mask


def _splits(
    files: Mapping[str, Fields], listed: Sequence[_Frame], located: Located, finder: Finder
) -> dict[str, tuple[int, ...]]:
    """The indices of the photos of each split: of a file each, or named in the only file."""
    members: dict[str, set[Path | None]] = {split: set() for split in files if split}
    for frame, path in zip(listed, located.paths, strict=True):
        members.get(frame.split, set()).add(path)
    file = files.get("", Fields("", {}))
    for split in SPLITS:
        name = f"{split}_filenames"
        if name not in file:
            continue
        wanted = {text: finder.find(text) for text in file.texts(name, "be a list of paths")}
        unknown = [text for text, path in wanted.items() if path not in located.paths]
        if unknown:
            raise ValueError(
                f"{file.where}{name} has {min(unknown)}, which is not a frame's file_path; "
                "correct it or remove it"
            )
        members[split] = set(wanted.values())
    splits = {
        split: tuple(i for i, photo in enumerate(located.photos) if photo in paths)
        for split, paths in members.items()
    }
    if not splits.get("train", True) and "" in files:
        raise file.error("train_filenames", "list a photo that exists")
    return {split: indices for split, indices in splits.items() if indices}


def _observations(
    source: Path, file: Fields, finder: Finder, photos: Sequence[Path]
) -> tuple[Observations, ...]:
    """From the sparse model; none if it is not there, since it is optional."""
    if "colmap_path" not in file:
        return ()
    expected = "be the path of a folder with a COLMAP model"
    name = file.text("colmap_path", expected).replace("\\", "/")
    model = colmap.find(source.parent / name)
    return () if model is None else colmap.read_observations(model, finder, photos)


def _up(file: Fields) -> Float[np.ndarray, "3"] | None:
    if "up" not in file:
        return None
    up = file.vector("up", 3)
    if not np.linalg.norm(up) > 0:
        raise file.error("up", "have a length")
    return up / np.linalg.norm(up)
