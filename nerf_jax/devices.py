"""The devices, of one process or of several: rays are split over all of them."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

T = TypeVar("T")

RAYS = "rays"
"""The mesh axis that rays are split over."""

REPLICATED = PartitionSpec()
SPLIT = PartitionSpec(RAYS)


def ray_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of the given devices, or of all devices, with one axis: rays."""
    return Mesh(np.asarray(jax.devices() if devices is None else devices), (RAYS,))


def split_evenly(count: int, mesh: Mesh, name: str) -> int:
    """The share of one device.

    Args:
        count: to be split.
        mesh: the devices.
        name: of the option that is the count, for the error.

    Raises:
        ValueError: ``count`` is not divisible by the number of devices.
    """
    share, rest = divmod(count, mesh.size)
    if rest:
        raise ValueError(
            f"{name} is {count}, which {mesh.size} devices cannot share evenly; "
            f"{share * mesh.size or mesh.size} would do"
        )
    return share


def replicate(tree: T, sharding: Sharding) -> T:
    """Arrays of this process, equal in all processes, on all devices of a replicated sharding."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place(leaf: Any) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)))
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place, tree)


def on_this_process(tree: T) -> T:
    """Replicated arrays, on the devices of this process: it can compute with them alone."""
    if jax.process_count() == 1:
        return tree
    local = jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
    return jax.device_put(local, NamedSharding(ray_mesh(jax.local_devices()), REPLICATED))


def device_name() -> str:
    """A description of the devices that jax uses."""
    devices = jax.devices()
    name = f"{devices[0].platform} ({devices[0].device_kind})"
    count, processes = len(devices), jax.process_count()
    name = name if count == 1 else f"{count} x {name}"
    return name if processes == 1 else f"{name} of {processes} processes"


def memory_gib() -> float:
    """The memory of a device that jax may use; 24 GiB where it does not say."""
    found = jax.local_devices()[0].memory_stats() or {}
    return found.get("bytes_limit", 24 << 30) / 2**30


def processor() -> str:
    """The processor's name and its number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
