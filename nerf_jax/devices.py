"""The devices a program runs on: rays are shared out over all of them."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

RAYS = "rays"
"""The mesh axis that rays are split along."""

REPLICATED = PartitionSpec()
SPLIT = PartitionSpec(RAYS)


def ray_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of the given devices, or of all there are, with one axis: rays."""
    return Mesh(np.asarray(jax.devices() if devices is None else devices), (RAYS,))


def split_evenly(count: int, mesh: Mesh, name: str) -> int:
    """The share of one device.

    Raises:
        ValueError: ``count`` does not divide by the number of devices; ``name`` says whose it is.
    """
    share, rest = divmod(count, mesh.size)
    if rest:
        raise ValueError(
            f"{name} is {count}, which {mesh.size} devices cannot share evenly; "
            f"{share * mesh.size or mesh.size} would do"
        )
    return share


def device_name() -> str:
    """The devices that jax computes on, for people."""
    devices = jax.devices()
    name = f"{devices[0].platform} ({devices[0].device_kind})"
    return name if len(devices) == 1 else f"{len(devices)} x {name}"


def processor() -> str:
    """The processor's name, and how many of its cores there are to use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
