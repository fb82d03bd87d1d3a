"""The devices: rays are split over all of them."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

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


def device_name() -> str:
    """A description of the devices that jax uses."""
    devices = jax.devices()
    name = f"{devices[0].platform} ({devices[0].device_kind})"
    return name if len(devices) == 1 else f"{len(devices)} x {name}"


def memory_gib() -> float:
    """The memory of a device that jax may use; 24 GiB where it does not say."""
    found = jax.devices()[0].memory_stats() or {}
    return found.get("bytes_limit", 24 << 30) / 2**30


def processor() -> str:
    """The processor's name and its number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
