"""Scenes: one module per file format, and :func:`load`, which finds the scene of a config."""

import os
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from nerf_jax.config import DataConfig
from nerf_jax.config.serialization import near_miss
from nerf_jax.data.scene import Scene, Split

__all__ = ["is_local", "load", "recognize", "save_rays"]

Format = Literal["blender", "transforms", "llff", "colmap", "rays"]

ENVIRONMENT_VARIABLE = "NERF_JAX_DATA"
DEFAULT_FOLDER = Path("data")
BLENDER_FOLDER = "nerf_synthetic"
LLFF_FOLDER = "nerf_llff_data"
"""The folders in which the NeRF authors distribute their scenes."""


def load(config: DataConfig) -> Scene:
    """The scene of a config: built in, found on disk, or downloaded.

    Raises:
        ValueError: the format found is not the one requested, or files are malformed.
        OSError: the scene does not exist and could not be downloaded.
    """
    if _is_built_in(config):
        return _load_bricks(config)
    path, found = _find(config)
    if config.format not in ("auto", found):
        raise ValueError(
            f"{path}: data.format is {config.format!r}, but this is a dataset of format {found!r}; "
            "set data.format to that or to 'auto', or data.root to another folder"
        )
    return _loaders()[found].load(path, config)


def save_rays(path: Path, split: Split, background: str) -> None:
    """Write a split as a ray dataset: :func:`nerf_jax.data.rays.save`."""
    from nerf_jax.data import rays

    rays.save(path, split, background)


def is_local(config: DataConfig) -> bool:
    """Whether :func:`load` needs no download."""
    return _is_built_in(config) or _search(config) is not None


def recognize(path: Path) -> Format | None:
    """The format of the dataset at ``path``, a folder or a file; None if there is none."""
    return next((name for name, module in _loaders().items() if module.find(path)), None)


def _loaders() -> dict[Format, ModuleType]:
    """The modules of the formats, imported here, as the built-in scene needs none.

    Each has ``find(path)``, true for datasets of its format, and ``load(path, config)``. Of several
    formats in a folder the first is read: converted poses come before those they were made from.
    """
    from nerf_jax.data import blender, colmap, llff, rays, transforms

    return dict(zip(get_args(Format), (blender, transforms, llff, colmap, rays), strict=True))


def _is_built_in(config: DataConfig) -> bool:
    default = config.scene == "bricks" and config.root is None and config.format == "auto"
    return default or config.format == "bricks"


def _load_bricks(config: DataConfig) -> Scene:
    if config.scene != "bricks" or config.root is not None:
        raise ValueError(
            "data.format 'bricks' is the built-in scene, which has no folder, but data.scene is "
            f"{config.scene!r} and data.root is {str(config.root)!r}; leave both at their "
            "defaults, or set data.format to 'auto'"
        )
    from nerf_jax.scenes import bricks  # builds its model when imported

    return bricks.load(config)


def _search(config: DataConfig) -> tuple[Path, Format] | None:
    """The path of the scene on disk, and its format."""
    paths = []
    for root in _roots(config):
        # A default root is a collection of scenes: it is a scene itself only if it has its name.
        if config.root is not None or root.resolve().name == config.scene:
            paths.append(root)
        names = [f"{config.scene}{suffix}" for suffix in ("", ".npz", ".npy")]
        paths += [folder / name for folder in _collections(root) for name in names]
    for path in paths:
        # Of a folder with several formats, the requested one.
        for name, module in _loaders().items():
            if name == config.format and module.find(path):
                return path, name
        found = recognize(path)
        if found:
            return path, found
    return None


def _find(config: DataConfig) -> tuple[Path, Format]:
    """The path of the scene, which is downloaded if it is not on disk, and its format."""
    found = _search(config)
    if found:
        return found
    from nerf_jax.data import download

    failure: Exception | None = None
    is_known = config.scene in download.SCENES and config.format in ("auto", "blender")
    if config.root is None and is_known:
        try:
            return download.fetch(config.scene, DEFAULT_FOLDER / BLENDER_FOLDER), "blender"
        except (OSError, ValueError) as error:
            failure = error
    raise FileNotFoundError(_not_found(config, failure)) from failure


def _roots(config: DataConfig) -> list[Path]:
    """The folders to search."""
    if config.root is not None:
        return [config.root.expanduser()]
    variable = os.environ.get(ENVIRONMENT_VARIABLE)
    return [*([Path(variable).expanduser()] if variable else []), DEFAULT_FOLDER]


def _collections(root: Path) -> tuple[Path, ...]:
    """The folders of scenes under a root."""
    return root, root / BLENDER_FOLDER, root / LLFF_FOLDER


def _not_found(config: DataConfig, failure: Exception | None) -> str:
    """The message for a scene that was not found: the search, the scenes there, the remedies."""
    from nerf_jax.data import download

    roots = _roots(config)
    folders = [folder for root in roots for folder in _collections(root) if folder.is_dir()]
    scenes = sorted({path.name for each in folders for path in each.iterdir() if recognize(path)})
    searched = " or ".join(f"{path}{'' if path.exists() else ' (absent)'}" for path in roots)
    choice = f" Found there: {', '.join(scenes)}." if scenes else ""
    names = {"bricks", *download.SCENES, *scenes} if config.root is None else scenes
    choice += near_miss(config.scene, [name for name in names if name != config.scene])
    if config.root is not None:
        return (
            f"data.root {searched} is neither a scene, nor a folder that holds the scene "
            f"{config.scene!r}.{choice} Pass a folder with transforms_train.json, "
            "transforms.json, poses_bounds.npy, COLMAP's sparse/ or train.npz, a ray file (.npz, "
            ".npy), or the folder above and the scene's name as --data.scene"
        )
    failed = f" The download failed too: {failure}." if failure else ""
    by_hand = f", or unzip {download.url(config.scene)} into {DEFAULT_FOLDER}" if failure else ""
    return (
        f"found no scene {config.scene!r} in {searched}.{choice}{failed} Pass --data.root DIR, the "
        f"scene's folder, or set {ENVIRONMENT_VARIABLE} to a folder of scenes{by_hand}"
    )
