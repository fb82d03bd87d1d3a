"""The photos on the devices: all of them, or a buffer with bands of some.

Photos that do not fit are divided into bands, some rows of one photo each. An endless sequence of
bands has one random order of all after another. The buffer holds a window of this sequence, which
moves on every :data:`PERIOD` steps: the oldest bands are replaced by the next ones, which are read
and sent to the devices while the steps before are computed. So the buffer is a function of the
seed and the step alone, and every band is in it for the same number of steps.
"""

import functools
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Int

from nerf_jax.data.memory import read_rows
from nerf_jax.devices import replicate
from nerf_jax.types import Bands, Dataset, RayTable

PERIOD = 120
"""Steps between two exchanges: a number with many divisors, among them a call's steps."""

# The smaller the bands, the better some of them stand for all photos; a disk prefers larger ones.
_BANDS_A_PHOTO = 16  # at least
_BAND_BYTES = 2**14  # at most, unless a row has more
_READ_AT_ONCE = 2**6  # bands, around each of which up to 2 MiB of a file may be mapped
_MAX_EXCHANGE = 2**25  # bytes
_MIN_ROUNDS = 8  # exchanges after which the buffer is another one


@dataclass(frozen=True)
class WholePhotos:
    """All photos on the devices."""

    dataset: Dataset
    period: int = sys.maxsize

    def at(self, step: int) -> Dataset:
        """The dataset, which is the same at every step."""
        return self.dataset


def load_photos(
    dataset: Dataset, max_bytes: int, sharding: Sharding, *, seed: int = 0
) -> "WholePhotos | PhotoBuffer":
    """The photos on the devices, as a buffer if they are in a file or take more than a size.

    Ray datasets are never divided.

    Args:
        dataset: the photos on the host.
        max_bytes: of their pixels on each device.
        sharding: over the devices.
        seed: of the order in which a buffer holds them.
    """
    fits = dataset.pixels.nbytes <= max_bytes and not isinstance(dataset.pixels, np.memmap)
    if fits or isinstance(dataset.cameras, RayTable):
        return WholePhotos(replicate(dataset, sharding))
    return PhotoBuffer(dataset, max_bytes, seed, sharding)


class PhotoBuffer:
    """Bands of some photos on the devices.

    Args:
        dataset: all photos on the host, in memory or in files.
        max_bytes: of the buffer on each device.
        seed: of the order of the bands.
        sharding: over the devices.
    """

    period = PERIOD

    def __init__(self, dataset: Dataset, max_bytes: int, seed: int, sharding: Sharding) -> None:
        count, height, width, channels = dataset.pixels.shape
        tallest = max(1, min(height // _BANDS_A_PHOTO, _BAND_BYTES // (width * channels)))
        self.rows = next(rows for rows in range(tallest, 0, -1) if height % rows == 0)
        self._per_photo, self._seed, self._sharding = height // self.rows, seed, sharding
        self.num_bands = count * self._per_photo
        parts = {"pixels": dataset.pixels, "mask": dataset.mask, "depth": dataset.depth}
        self._parts: dict[str, Any] = {
            name: part.reshape((self.num_bands, self.rows, width, *part.shape[3:]))
            for name, part in parts.items()
            if part is not None
        }
        shapes = [(part.shape[1:], part.dtype) for part in self._parts.values()]
        self.band_bytes = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes)
        most = min(max_bytes // self.band_bytes, self.num_bands)
        self.exchanged = max(1, min(_MAX_EXCHANGE // self.band_bytes, most // _MIN_ROUNDS))
        self.size = max(1, most // self.exchanged) * self.exchanged
        self._cameras = replicate(dataset.cameras, sharding)
        self._executor = ThreadPoolExecutor(1)
        self._next: Future[Any] = Future()
        self._buffer: Any = None
        self._period = -1

    def at(self, step: int) -> Dataset:
        """The buffer at a step. It takes the memory of the one that was returned before."""
        period = step // self.period
        if period != self._period:
            start = period * self.exchanged
            if self._buffer is not None and period == self._period + 1:
                self._buffer = _write(self._buffer, *self._next.result())
            else:
                self._fill(start)
            self._period = period
            self._next = self._executor.submit(self._read, start + self.size)
        return Dataset(self._cameras, **self._buffer)

    def _fill(self, start: int) -> None:
        """Read the window that begins at a position of the sequence."""
        for position in range(start, start + self.size, self.exchanged):
            bands, slot = self._read(position)
            if self._buffer is None:
                self._buffer = jax.tree.map(self._zeros, bands)
            self._buffer = _write(self._buffer, bands, slot)

    def _zeros(self, bands: Array) -> Array:
        return jnp.zeros((self.size, *bands.shape[1:]), bands.dtype, device=self._sharding)

    def _read(self, position: int) -> tuple[dict[str, Any], np.int32]:
        """The next bands of the sequence from a position on, on the devices, and their slot."""
        band = self._order(position + np.arange(self.exchanged))
        image, index = np.divmod(band, self._per_photo)
        bands = Bands(image.astype(np.int32), (index * self.rows).astype(np.int32))
        groups = np.array_split(band, -(-len(band) // _READ_AT_ONCE))
        read = {
            name: np.concatenate([read_rows(part, group) for group in groups])
            for name, part in self._parts.items()
        }
        on_device = replicate({**read, "bands": bands}, self._sharding)
        return on_device, np.int32(position % self.size)

    def _order(self, positions: Int[np.ndarray, " S"]) -> Int[np.ndarray, " S"]:
        """The bands at positions of the sequence."""
        epochs, index = np.divmod(positions, self.num_bands)
        found = [
            _permutation(self._seed, int(epoch), self.num_bands)[index[epochs == epoch]]
            for epoch in np.unique(epochs)
        ]
        return np.concatenate(found)


@functools.lru_cache(2)
def _permutation(seed: int, epoch: int, count: int) -> Int[np.ndarray, " N"]:
    return np.random.default_rng((seed, epoch)).permutation(count)


@functools.partial(jax.jit, donate_argnums=0)
def _write(buffer: Any, bands: Any, slot: Array) -> Any:
    """The buffer with bands written from a slot on, in its memory."""
    update = jax.lax.dynamic_update_slice_in_dim
    return jax.tree.map(lambda old, new: update(old, new, slot, axis=0), buffer, bands)
