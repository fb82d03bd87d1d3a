"""The cameras of a scene's photos, kept with the run, so that it needs no dataset.

``setting.npz`` holds ``world_from_original``, and of each split ``<split>.names``,
``<split>.size_hw``, the leaves of its cameras by their names, and if known ``log_exposure``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from nerf_jax.data.files import atomic_write, one_line
from nerf_jax.data.intrinsics import MAX_SIDE
from nerf_jax.data.scene import Scene, Split
from nerf_jax.types import Cameras, Lens


class SplitCameras(NamedTuple):
    """The names, cameras (NumPy arrays of N) and common size of a split's photos."""

    names: tuple[str, ...]
    cameras: Cameras
    size_hw: tuple[int, int]
    log_exposure: Float[np.ndarray, " N"] | None = None
    """As of :class:`nerf_jax.data.scene.Split`, if all photos state it."""


@dataclass(frozen=True)
class SceneCameras:
    """The cameras of all splits, and the transform from the frame of the scene's files."""

    world_from_original: Float[np.ndarray, "4 4"]
    """A similarity; exported files are in the original frame."""
    splits: Mapping[str, SplitCameras]
    """By split, without ray datasets, which have no cameras."""

    @staticmethod
    def of(scene: Scene, splits: Mapping[str, Split]) -> "SceneCameras":
        """The cameras of the loaded splits of a scene."""
        cameras = {
            name: SplitCameras(
                split.names,
                split.dataset.cameras,
                split.dataset.size_hw,
                _if_all(split.log_exposure),
            )
            for name, split in splits.items()
            if isinstance(split.dataset.cameras, Cameras)
        }
        return SceneCameras(scene.world_from_original, cameras)

    def require_same(self, found: "SceneCameras", folder: Path) -> None:
        """Require that a scene is the one of a run, whose cameras these are.

        Raises:
            ValueError: the photos of a split, or the transform from the files, differ.
        """
        differs = next(
            (
                f"the {name} photos"
                for name in sorted(self.splits.keys() & found.splits.keys())
                if self.splits[name].names != found.splits[name].names
            ),
            "",
        )
        same_frame = np.allclose(
            *(self.world_from_original, found.world_from_original), rtol=1e-3, atol=1e-3
        )
        if differs or not same_frame:
            wrong = differs or "the world coordinates"
            raise ValueError(
                f"{folder}: {wrong} of this dataset are not the run's: name the run's dataset by "
                "--data.root and --data.format, with the same splits (--data.hold_out), or begin "
                "a new run"
            )

    def save(self, path: Path) -> None:
        """Write the file, atomically."""
        arrays: dict[str, Any] = {"world_from_original": np.asarray(self.world_from_original)}
        for split, (names, cameras, size_hw, log_exposure) in self.splits.items():
            leaves: dict[str, Any] = {"names": names, "size_hw": size_hw} | cameras._asdict()
            lens = leaves.pop("lens")
            leaves |= {} if lens is None else lens._asdict()
            leaves |= {} if log_exposure is None else {"log_exposure": log_exposure}
            arrays |= {f"{split}.{name}": np.asarray(leaf) for name, leaf in leaves.items()}
        with atomic_write(path) as aside:
            np.savez(aside, **arrays)

    @staticmethod
    def load(path: Path) -> "SceneCameras":
        """Read the file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: not there, so the cameras of the photos are unknown; "
                f"`run.py --output {path.parent} --resume` writes it"
            )
        try:
            with path.open("rb") as file:  # numpy leaves a damaged file open that it opens itself
                arrays = dict(np.load(file))
            splits = {name.split(".")[0] for name in arrays if name.endswith(".names")}
            cameras = {split: _split_cameras(arrays, split) for split in splits}
            world_from_original = _numbers(arrays, "world_from_original", (4, 4))
            if not np.linalg.det(world_from_original) > 0:
                raise ValueError("world_from_original is no similarity")
            return SceneCameras(world_from_original, cameras)
        except Exception as error:  # damaged files raise almost any exception
            raise ValueError(
                f"{path}: damaged ({one_line(error)}); delete it, and "
                f"`run.py --output {path.parent} --resume` rewrites it"
            ) from error


def _if_all(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None or not np.isfinite(values).all() else values


_SHAPES = {
    "world_from_camera": (3, 4),
    "focal": (2,),
    "principal": (2,),
    "near": (),
    "far": (),
    "radial": (4,),
    "tangential": (2,),
    "fisheye": (),
    "log_exposure": (),
}
"""The shape of each array, for one camera."""


def _split_cameras(arrays: Mapping[str, np.ndarray], split: str) -> SplitCameras:
    names = tuple(map(str, arrays[f"{split}.names"]))

    def leaf(name: str) -> np.ndarray:
        return _numbers(arrays, f"{split}.{name}", (len(names), *_SHAPES[name]))

    has_lens = f"{split}.fisheye" in arrays
    lens = Lens(*map(leaf, Lens._fields)) if has_lens else None
    own: dict[str, Any] = {name: leaf(name) for name in Cameras._fields if name != "lens"}
    height, width = map(int, _numbers(arrays, f"{split}.size_hw", (2,)))
    if not (names and 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ValueError(f"{len(names)} photos of {height}x{width}")
    log_exposure = leaf("log_exposure") if f"{split}.log_exposure" in arrays else None
    return SplitCameras(names, Cameras(**own, lens=lens), (height, width), log_exposure)


def _numbers(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]
) -> Shaped[np.ndarray, "..."]:
    """An array of finite numbers of a shape."""
    array = arrays[name]
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} is not {'x'.join(map(str, shape))} finite numbers")
    return array
