"""Scenes: one file a format, and :func:`load`, which finds the scene that a config names."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from nerf_jax.config import DataConfig
from nerf_jax.config.serialization import near_miss
from nerf_jax.data import blender, colmap, download, llff, rays, transforms
from nerf_jax.data.rays import save as save_rays
from nerf_jax.data.scene import Scene

__all__ = ["at_hand", "load", "recognize", "save_rays"]

Format = Literal["blender", "transforms", "llff", "colmap", "rays"]

ENVIRONMENT_VARIABLE = "NERF_JAX_DATA"
DEFAULT_FOLDER = Path("data")
BLENDER_FOLDER = "nerf_synthetic"
LLFF_FOLDER = "nerf_llff_data"
"""What the folders of all scenes of a kind are called, as the NeRF authors ship them."""

_FINDERS: Mapping[Format, Callable[[Path], Any]] = {
    "blender": blender.find,
    "transforms": transforms.find,
    "llff": llff.find,
    "colmap": colmap.find,
    "rays": rays.find,
}
"""What is true of a dataset of a format. The first that is counts: poses that someone converted
go before those that they were made from."""


def load(config: DataConfig) -> Scene:
    """The scene that ``config`` names: built in, found on disk, or else downloaded.

    Raises:
        ValueError: the format asked for is not what is there, or files are not as they should be.
        OSError: there is no such scene, and it could not be downloaded.
    """
    if _is_built_in(config):
        return _load_bricks(config)
    path, found = _find(config)
    if config.format not in ("auto", found):
        raise ValueError(
            f"{path}: data.format is {config.format!r}, but this is a dataset of format {found!r}; "
            "set data.format to that or to 'auto', or data.root to another folder"
        )
    match found:
        case "blender":
            return blender.load(path, config)
        case "transforms":
            return transforms.load(path, config)
        case "llff":
            return llff.load(path, config)
        case "colmap":
            return colmap.load(path, config)
        case "rays":
            return rays.load(path, config)


def at_hand(config: DataConfig) -> bool:
    """Whether :func:`load` would find the scene, and not have to download it."""
    return _is_built_in(config) or _search(config) is not None


def recognize(path: Path) -> Format | None:
    """The format of the dataset at ``path``, a folder or a file; None if there is none."""
    return next((name for name, find in _FINDERS.items() if find(path)), None)


def _is_built_in(config: DataConfig) -> bool:
    plain = config.scene == "bricks" and config.root is None and config.format == "auto"
    return plain or config.format == "bricks"


def _load_bricks(config: DataConfig) -> Scene:
    if config.scene != "bricks" or config.root is not None:
        raise ValueError(
            "data.format 'bricks' is the built-in scene, which has no folder, but data.scene is "
            f"{config.scene!r} and data.root is {str(config.root)!r}; leave both as they are by "
            "default, or set data.format to 'auto'"
        )
    from nerf_jax.scenes import bricks  # builds its model when imported

    return bricks.load(config)


def _search(config: DataConfig) -> tuple[Path, Format] | None:
    """Where the scene is on disk, and in which format."""
    for path in (path for place in _places(config) for path in _candidates(place, config)):
        # A folder may be of several formats; the one that is asked for goes first.
        asked = next((name for name in _FINDERS if name == config.format), None)
        found = asked if asked and _FINDERS[asked](path) else recognize(path)
        if found:
            return path, found
    return None


def _find(config: DataConfig) -> tuple[Path, Format]:
    """Where the scene is, and in which format; downloaded if it is nowhere."""
    there = _search(config)
    if there:
        return there
    failure: Exception | None = None
    if (
        config.root is None
        and config.scene in download.SCENES
        and config.format in ("auto", "blender")
    ):
        try:
            return download.fetch(config.scene, DEFAULT_FOLDER / BLENDER_FOLDER), "blender"
        except (OSError, ValueError) as error:
            failure = error
    raise FileNotFoundError(_not_found(config, _places(config), failure)) from failure


def _places(config: DataConfig) -> list[Path]:
    """The folders to look in."""
    if config.root is not None:
        return [config.root.expanduser()]
    variable = os.environ.get(ENVIRONMENT_VARIABLE)
    return [*([Path(variable).expanduser()] if variable else []), DEFAULT_FOLDER]


def _candidates(place: Path, config: DataConfig) -> Iterator[Path]:
    """Where in a place the scene may be."""
    # Without a root, a place is a collection: it is the scene itself only if it has its name.
    if config.root is not None or place.resolve().name == config.scene:
        yield place
    for folder in _collections(place):
        for suffix in ("", ".npz", ".npy"):
            yield folder / f"{config.scene}{suffix}"


def _collections(place: Path) -> tuple[Path, ...]:
    """The folders of scenes in a place."""
    return place, place / BLENDER_FOLDER, place / LLFF_FOLDER


def _not_found(config: DataConfig, places: list[Path], failure: Exception | None) -> str:
    """What was searched, what is there instead, and the ways out, in one line."""
    there = sorted(
        {
            path.name
            for place in places
            for folder in _collections(place)
            if folder.is_dir()
            for path in folder.iterdir()
            if recognize(path)
        }
    )
    searched = " or ".join(f"{path}{'' if path.exists() else ' (absent)'}" for path in places)
    choice = f" Found there: {', '.join(there)}." if there else ""
    names = {"bricks", *download.SCENES, *there} if config.root is None else there
    choice += near_miss(config.scene, [name for name in names if name != config.scene])
    if config.root is not None:
        return (
            f"data.root {searched} is neither a scene, nor a folder that holds the scene "
            f"{config.scene!r}.{choice} Pass a folder with transforms_train.json, "
            "transforms.json, poses_bounds.npy, COLMAP's sparse/ or train.npz, a ray file (.npz, "
            ".npy), or the folder above and the scene's name as --data.scene"
        )
    failed = f" It could not be downloaded either: {failure}." if failure else ""
    by_hand = f", or unzip {download.url(config.scene)} into {DEFAULT_FOLDER}" if failure else ""
    return (
        f"found no scene {config.scene!r} in {searched}.{choice}{failed} Pass --data.root DIR, the "
        f"scene's folder, or set {ENVIRONMENT_VARIABLE} to a folder of scenes{by_hand}"
    )
