"""Memory: how much is free, and arrays that take little of it."""

import mmap
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, Shaped

from nerf_jax.config import DataConfig

_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


class PhotoBudget(NamedTuple):
    """The bytes that the pixels of photos may take. More are read from files."""

    train: int
    held_out: int


def photo_budget(config: DataConfig) -> PhotoBudget:
    """A quarter of the memory for training photos, a sixteenth for others.

    On a CPU their pixels are in memory twice, for the host and for the device. The rest is left to
    the program.
    """
    memory = config.memory_bytes or free_bytes()
    return PhotoBudget(memory // 4, memory // 16)


def free_bytes() -> int:
    """The memory that photos and training may share: what is free on the host, and no more than
    twice what is free on the device, where pixels have only one copy.
    """
    stats = jax.local_devices()[0].memory_stats() or {}  # of a CPU there are none
    device = stats.get("bytes_limit", sys.maxsize) - stats.get("bytes_in_use", 0)
    return min(_free_on_host(), 2 * device)


def _free_on_host() -> int:
    info = Path("/proc/meminfo")
    if not info.is_file():
        is_known = hasattr(os, "sysconf")  # not on Windows
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if is_known else 2**32
    fields = dict(line.split(":") for line in info.read_text().splitlines())
    limit = _GROUP_LIMIT.read_text().strip() if _GROUP_LIMIT.is_file() else "max"
    free = 1024 * int(fields["MemAvailable"].split()[0])
    return min(free, int(limit)) if limit.isdecimal() else free


def peak_bytes() -> int | None:
    """The largest memory that this process had at any time; None if the system does not say."""
    try:
        import resource
    except ImportError:  # on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def describe_bytes(count: int) -> str:
    """A size for messages, which is also one for options: ``1.532 GB``, ``250 MB``."""
    power = next((power for power in (4, 3, 2, 1) if count >= 1000**power), 0)
    return f"{count / 1000**power:.4g} {('B', 'KB', 'MB', 'GB', 'TB')[power]}"


def read_rows(array: Any, index: Any) -> Shaped[np.ndarray, "*n"]:
    """A copy of ``array[index]``. If the array is in a file, its pages do not remain in memory."""
    copy = np.array(array[index])
    pages = getattr(array, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
    return copy


class SparseArray:
    """An array that is 0 but for some entries: the part of ``np.ndarray`` that readers of rows use.

    Args:
        shape: the array's.
        flat: ascending indices of the entries in the flattened array.
        values: the entries.
    """

    def __init__(
        self,
        shape: Sequence[int],
        flat: Int[np.ndarray, " S"],
        values: Shaped[np.ndarray, " S"],
    ) -> None:
        self.shape, self.dtype = tuple(shape), values.dtype
        self._flat, self._values = flat, values

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, shape: Sequence[int]) -> "SparseArray":
        """The same entries in another shape of as many."""
        return SparseArray(shape, self._flat, self._values)

    def __getitem__(self, index: Any) -> Shaped[np.ndarray, "*n"]:
        rows = np.arange(len(self))[index]
        size = int(np.prod(self.shape[1:]))
        dense = np.zeros((*rows.shape, size), self.dtype)
        for row, target in zip(rows.ravel(), dense.reshape(-1, size), strict=True):
            first, last = np.searchsorted(self._flat, (row * size, (row + 1) * size))
            target[self._flat[first:last] - row * size] = self._values[first:last]
        return dense.reshape(*rows.shape, *self.shape[1:])
