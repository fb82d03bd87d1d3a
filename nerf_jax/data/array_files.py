"""NumPy files written by other programs, read and checked."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from nerf_jax.data.files import one_line


def read_arrays(path: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file; the array of a ``.npy`` file, under ``name``.

    Raises:
        ValueError: the file is not of this kind, is damaged, or holds pickled objects.
    """
    try:
        with path.open("rb") as file:  # np.load itself leaves damaged files open
            loaded = np.load(file, allow_pickle=False)
            return {name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # damaged files raise almost any exception
        raise ValueError(
            f"{path}: cannot be read as plain NumPy arrays ({one_line(error)}). Object arrays and "
            "pickles are never opened, since that can run any code; copy the file again, or write "
            f"it with numpy.save or numpy.savez, {name} as numbers"
        ) from error


def require_rows(
    path: Path, valid: Bool[np.ndarray, " N"], rows: Shaped[np.ndarray, "N ..."], expected: str
) -> None:
    """Check rows of numbers.

    Raises:
        ValueError: a row is not valid. The message names the first.
    """
    if not valid.all():
        index = int(np.argmin(valid))
        found = np.array2string(rows[index], precision=4, separator=", ").replace("\n", "")
        raise ValueError(f"{path}: row {index} (from 0) {expected}, but is {found:.200}")
