"""Ray datasets: rays and their colours as one N x 9 array, and no cameras.

A row is origin, direction and colour (in [0, 1]); the rows of an image are in reading order,
and one image follows another. A file is either ``.npy``, which is that array, or ``.npz`` with

- ``rays``: the array;
- ``size_hw`` (optional): height and width of every image, so that they can be told apart;
- ``near_far`` (optional): 2 distances along the rays in world units, or one such pair an image.

A file is the split ``train``; a folder holds ``{train,val,test}.npz`` or ``.npy``.
"""

import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from nerf_jax.cameras import cast_rays
from nerf_jax.config import DataConfig
from nerf_jax.data.scene import Scene, Split
from nerf_jax.types import Cameras, Dataset, RayTable

SPLITS = ("train", "val", "test")

# What rounding may carry a colour beyond [0, 1].
_COLOR_TOLERANCE = 1e-3
_RAYS_PER_CHUNK = 2**18  # cast at once by `save`


def load(path: Path, config: DataConfig) -> Scene:
    """The ray dataset at ``path``; its arrays are read when a split is asked for.

    Raises:
        ValueError: there is no ray dataset, it is pickled, or ``config`` asks for smaller images,
            which rays do not allow. Reading a split raises it too, for a file that is not as it
            should be.
    """
    files = find(path)
    if not files:
        raise ValueError(
            f"{path}: no ray dataset; expected a .npz or .npy file, or a folder with "
            "train.npz or train.npy (and val, test)"
        )
    for file in files.values():
        if file.suffix == ".pkl":
            raise ValueError(
                f"{file}: pickles are not read, because opening one can run any code; if you "
                'trust it, convert it once with: python -c "import numpy as np; np.save('
                f"'train.npy', np.load('{file.name}', allow_pickle=True))\""
            )
    if config.downscale != 1:
        raise ValueError(
            f"data.downscale is {config.downscale}, but the ray dataset {path} cannot be shrunk; "
            "set it to 1, or make the rays from smaller images"
        )
    loaders = {split: partial(_read_split, file, config) for split, file in files.items()}
    return Scene(name=path.resolve().stem, source=str(path), loaders=loaders)


def find(path: Path) -> dict[str, Path]:
    """The files of the ray dataset at ``path``, by split; none if there is no such dataset.

    Pickles are found as well, so that :func:`load` can say what to do with them.
    """
    if path.is_file():
        return {"train": path} if path.suffix in (".npz", ".npy", ".pkl") else {}
    named = {
        split: file
        for split in SPLITS
        for file in (path / f"{split}.npy", path / f"{split}.npz")  # both: the .npz says more
        if file.is_file()
    }
    return named or {file.stem: file for file in sorted(path.glob("*.pkl"))}


def save(path: Path, split: Split, background: str) -> None:
    """Write a split as a ray dataset: the inverse of :func:`load`, for any cameras.

    The file appears under its name only once it is whole.

    Args:
        path: the ``.npz`` file; its folder is made if need be.
        split: pinhole cameras or a ray table.
        background: "white" or "black", what transparent pixels show: a ray dataset has no alpha.

    Raises:
        ValueError: the name does not end in ``.npz``, or the background is another.
    """
    if path.suffix != ".npz":
        raise ValueError(f"{path}: ray datasets are written as .npz; name it so")
    if background not in ("white", "black"):
        raise ValueError(
            f"data.background is {background!r}, but a ray dataset keeps one colour for each ray; "
            "set it to 'white' or 'black'"
        )
    cameras, pixels = split.dataset.cameras, split.dataset.pixels
    count, height, width, _ = pixels.shape
    rays = np.empty((count, height * width, 9), np.float32)
    on_device = jax.device_put(cameras)
    for image in range(count):
        for start in range(0, height * width, _RAYS_PER_CHUNK):
            place = np.arange(start, min(start + _RAYS_PER_CHUNK, height * width))
            column_row = np.stack([place % width, place // width], axis=1)
            rays[image, place, :6] = _cast(on_device, jnp.asarray(image), jnp.asarray(column_row))
        color = _over(np.asarray(pixels[image]), background=float(background == "white"))
        rays[image, :, 6:] = color.reshape(-1, 3)
    near_far = np.unique(np.stack([cameras.near, cameras.far], axis=1), axis=0)
    if len(near_far) > 1:
        near_far = np.stack([cameras.near, cameras.far], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            np.savez(
                file,
                rays=rays.reshape(-1, 9),
                size_hw=np.array([height, width]),
                near_far=near_far.squeeze().astype(np.float32),
            )
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@jax.jit
def _cast(
    cameras: Cameras | RayTable, image: Int[Array, ""], pixels: Int[Array, "R 2"]
) -> Float[Array, "R 6"]:
    rays = jax.vmap(cast_rays, in_axes=(None, None, 0))(cameras, image, pixels)
    return jnp.concatenate([rays.origin, rays.direction], axis=1)


def _over(pixels: Shaped[np.ndarray, "H W C"], background: float) -> Float[np.ndarray, "H W 3"]:
    """One image in [0, 1], its transparency filled with the background."""
    image = pixels.astype(np.float32) / (255 if pixels.dtype == np.uint8 else 1)
    if image.shape[-1] == 3:
        return image
    color, alpha = image[..., :3], image[..., 3:]
    return color * alpha + background * (1 - alpha)


def _read_split(path: Path, config: DataConfig) -> Split:
    arrays = _read_arrays(path)
    rays = arrays["rays"]
    if rays.ndim != 2 or rays.shape[1] != 9 or len(rays) == 0 or rays.dtype.kind != "f":
        raise ValueError(
            f"{path}: rays must be N rows of 9 floats (origin, direction, colour), but have shape "
            f"{rays.shape} and type {rays.dtype}"
        )
    with np.errstate(over="ignore"):  # what is too large becomes inf, and is named below
        rays = rays.astype(np.float32, copy=False)
        lengths = np.linalg.norm(rays[:, 3:6], axis=1)
    _check_rows(path, rays, lengths)
    height, width = _image_size(path, arrays.get("size_hw"), config, len(rays))
    shape = (len(rays) // (height * width), height, width, 3)
    near, far = _near_far(path, arrays.get("near_far"), config, shape[0]).T
    table = RayTable(
        origin=rays[:, :3].reshape(shape),
        direction=(rays[:, 3:6] / lengths[:, None]).reshape(shape),
        near=near,
        far=far,
    )
    several = tuple(f"{path.stem}_{index}" for index in range(shape[0]))
    names = ("rays",) if shape[0] == 1 else several
    return Split(Dataset(table, rays[:, 6:].reshape(shape)), names)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:  # np.load itself leaves damaged files open
            loaded = np.load(file, allow_pickle=False)
            arrays = {"rays": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # damaged files raise nearly anything
        raise ValueError(
            f"{path}: cannot be read as plain NumPy arrays ({error}). Object arrays and pickles "
            "are never opened, since that can run any code; write the file again with "
            "numpy.savez(path, rays=rays.astype('float32'))"
        ) from error
    if "rays" not in arrays:
        raise ValueError(
            f"{path}: holds no array 'rays', but {', '.join(arrays) or 'nothing'}; write it with "
            "numpy.savez(path, rays=rays)"
        )
    return arrays


def _check_rows(
    path: Path, rays: Float[np.ndarray, "N 9"], lengths: Float[np.ndarray, " N"]
) -> None:
    def require(right: Bool[np.ndarray, " N"], expected: str) -> None:
        if not right.all():
            row = int(np.argmin(right))
            values = ", ".join(f"{value:g}" for value in rays[row])
            raise ValueError(f"{path}: row {row} (from 0) {expected}, but is [{values}]")

    colors = rays[:, 6:]
    require(np.isfinite(rays).all(axis=1), "must be finite float32 numbers")
    require((lengths > 0) & (lengths < np.inf), "must have a direction of some length")
    require(
        np.all((colors >= -_COLOR_TOLERANCE) & (colors <= 1 + _COLOR_TOLERANCE), axis=1),
        "must have its colour in [0, 1] (divide bytes by 255)",
    )


def _image_size(
    path: Path, size_hw: np.ndarray | None, config: DataConfig, count: int
) -> tuple[int, int]:
    """Height and width: the file's, else the config's, else all rays are one row."""
    if size_hw is not None and (
        size_hw.shape != (2,) or size_hw.dtype.kind not in "iu" or size_hw.min() < 1
    ):
        raise ValueError(
            f"{path}: size_hw must be 2 positive integers, but is {size_hw.tolist()!r:.80}"
        )
    size = config.image_size if size_hw is None else size_hw
    if size is None:
        return 1, count
    height, width = int(size[0]), int(size[1])
    if count % (height * width):
        name = "data.image_size" if size_hw is None else "size_hw"
        raise ValueError(
            f"{path}: holds {count} rays, which are no whole number of images of {name} "
            f"{height}x{width}; correct it, or leave it out to treat them as one row"
        )
    return height, width


def _near_far(
    path: Path, near_far: np.ndarray | None, config: DataConfig, count: int
) -> Float[np.ndarray, "N 2"]:
    """Where the rays of each image start and end: the file's values, else the config's."""
    if near_far is None:
        near_far = np.array(config.bounds(2.0, 6.0))
    right = near_far.shape in ((2,), (count, 2)) and near_far.dtype.kind in "fiu"
    if right:
        with np.errstate(over="ignore"):
            near_far = near_far.astype(np.float32)
        near, far = near_far[..., 0], near_far[..., 1]
        right = bool(((near >= 0) & (near < far) & np.isfinite(far)).all())
    if not right:
        raise ValueError(
            f"{path}: near_far must be 2 distances with 0 <= near < far, or one such pair for each "
            f"of the {count} images, but is {near_far.tolist()!r:.80}"
        )
    return np.broadcast_to(near_far, (count, 2)).copy()
