"""Ray datasets: rays and their colours as one N x 9 array, without cameras.

A row is origin, direction and colour (in [0, 1]). The rows of an image are in reading order, and
images follow one another. A file is either ``.npy``, which is that array, or ``.npz`` with

- ``rays``: the array;
- ``size_hw`` (optional): height and width of every image, to separate the images;
- ``near_far`` (optional): 2 distances along the rays in world units, or one such pair per image.

A file is the split ``train``; a folder holds ``{train,val,test}.npz`` or ``.npy``.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nerf_jax.cameras import cast_image_rays
from nerf_jax.compositing import pixel_over, to_float
from nerf_jax.config import DataConfig
from nerf_jax.data.array_files import read_arrays, require_rows
from nerf_jax.data.files import atomic_write
from nerf_jax.data.memory import describe_bytes
from nerf_jax.data.scene import Scene, Split, Track
from nerf_jax.types import Dataset, RayTable

SPLITS = ("train", "val", "test")

_COLOR_TOLERANCE = 1e-3  # rounding may move colours out of [0, 1]


def load(path: Path, config: DataConfig) -> Scene:
    """The ray dataset at ``path``; its arrays are read on request.

    Raises:
        ValueError: there is no ray dataset, it is pickled, or ``config`` requests smaller images,
            which rays do not allow. Reading a split raises it for a malformed file.
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
    """The files of the ray dataset at ``path``, by split; empty if there is none.

    Includes pickles, for which :func:`load` raises an error with instructions.
    """
    if path.is_file():
        return {"train": path} if path.suffix in (".npz", ".npy", ".pkl") else {}
    named = {
        split: file
        for split in SPLITS
        for file in (path / f"{split}.npy", path / f"{split}.npz")  # the .npz takes precedence
        if file.is_file()
    }
    return named or {file.stem: file for file in sorted(path.glob("*.pkl"))}


def save(path: Path, split: Split, background: str) -> None:
    """Write a split as a ray dataset: the inverse of :func:`load`, for any cameras.

    Args:
        path: the ``.npz`` file, written atomically; its folder is created.
        split: cameras or a ray table.
        background: "white" or "black", visible through transparent pixels: a ray dataset has no
            alpha.

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
    rays = np.empty((count, height, width, 9), np.float32)
    on_device = jax.device_put(cameras)
    background_rgb = jnp.full(3, float(background == "white"))
    for image in range(count):
        cast = cast_image_rays(on_device, image, (height, width))
        rays[image, ..., :3], rays[image, ..., 3:6] = cast.origin, cast.direction
        rays[image, ..., 6:] = pixel_over(jnp.asarray(to_float(pixels[image])), background_rgb)
    near_far = np.stack([cameras.near, cameras.far], axis=1)
    if len(np.unique(near_far, axis=0)) == 1:
        near_far = near_far[0]
    with atomic_write(path) as aside:
        np.savez(
            aside,
            rays=rays.reshape(-1, 9),
            size_hw=np.array([height, width]),
            near_far=near_far.astype(np.float32),
        )


def _read_split(path: Path, config: DataConfig, track: Track) -> Split:
    arrays = read_arrays(path, "rays")
    if "rays" not in arrays:
        raise ValueError(
            f"{path}: holds no array 'rays', but {', '.join(arrays) or 'nothing'}; write it with "
            "numpy.savez(path, rays=rays)"
        )
    rays = arrays["rays"]
    if rays.nbytes > (config.memory_bytes or rays.nbytes):
        raise ValueError(
            f"{path}: its rays take {describe_bytes(rays.nbytes)}, and are in memory as a whole, "
            f"but data.memory is {config.memory}; set a larger one, or none"
        )
    if rays.ndim != 2 or rays.shape[1] != 9 or len(rays) == 0 or rays.dtype.kind != "f":
        raise ValueError(
            f"{path}: rays must be N rows of 9 floats (origin, direction, colour), but have shape "
            f"{rays.shape} and type {rays.dtype}"
        )
    with np.errstate(over="ignore"):  # too large values become inf and are reported below
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
    names = tuple(f"{path.stem}_{index}" for index in range(shape[0]))
    names = ("rays",) if shape[0] == 1 else names
    return Split(Dataset(table, rays[:, 6:].reshape(shape)), names)


def _check_rows(
    path: Path, rays: Float[np.ndarray, "N 9"], lengths: Float[np.ndarray, " N"]
) -> None:
    require_rows(path, np.all(np.isfinite(rays), axis=1), rays, "must be finite float32 numbers")
    directed = (lengths > 0) & (lengths < np.inf)
    require_rows(path, directed, rays, "must have a direction of nonzero length")
    in_range = (rays[:, 6:] >= -_COLOR_TOLERANCE) & (rays[:, 6:] <= 1 + _COLOR_TOLERANCE)
    expected = "must have its colour in [0, 1] (divide bytes by 255)"
    require_rows(path, np.all(in_range, axis=1), rays, expected)


def _image_size(
    path: Path, size_hw: np.ndarray | None, config: DataConfig, count: int
) -> tuple[int, int]:
    """Height and width of the file, else of the config; by default all rays form one row."""
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
            f"{path}: holds {count} rays, which is not a whole number of images of {name} "
            f"{height}x{width}; correct it, or leave it out to treat them as one row"
        )
    return height, width


def _near_far(
    path: Path, near_far: np.ndarray | None, config: DataConfig, count: int
) -> Float[np.ndarray, "N 2"]:
    """The bounds of the rays of each image, from the file or else the config."""
    if near_far is None:
        near_far = np.array(config.bounds(2.0, 6.0))
    valid = near_far.shape in ((2,), (count, 2)) and near_far.dtype.kind in "fiu"
    if valid:
        with np.errstate(over="ignore"):
            near_far = near_far.astype(np.float32)
        near, far = near_far[..., 0], near_far[..., 1]
        valid = bool(((near >= 0) & (near < far) & np.isfinite(far)).all())
    if not valid:
        raise ValueError(
            f"{path}: near_far must be 2 distances with 0 <= near < far, or one such pair for each "
            f"of the {count} images, but is {near_far.tolist()!r:.80}"
        )
    return np.broadcast_to(near_far, (count, 2)).copy()
