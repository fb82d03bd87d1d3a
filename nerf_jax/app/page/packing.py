"""A trained hash grid as the textures and uniform buffers of a page.

Entries of the tables become texels of up to 4 features, as half floats or as 8 bits with a scale
for each feature of a level; a level of more features becomes several. Kernels become matrices of
4 rows, in the order in which ``field.glsl`` multiplies by them.

Notation: ``L`` levels, ``F`` features of a texel, ``T`` texels of a level.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from nerf_jax.config import Config, HashConfig
from nerf_jax.hashgrid import Level, make_levels
from nerf_jax.types import HostArray, Params

Bits = Literal[8, 16]

ROW = 4096
"""Texels of a row of the table's texture, which has at most as many rows: phones have that much."""
MAX_CELLS = 256
"""Along the side of a texture in 3D, by the standard."""
MAX_BLOCK = 2**16
"""Bytes of a uniform buffer, on all but the oldest phones."""


class PackedField(NamedTuple):
    """A field, its parts in the order of upload."""

    levels: tuple[Level, ...]
    """Of the texels."""
    table: Shaped[np.ndarray, "texels F"]
    """float16; or int8, to be divided by 127, whose scales are part of the first kernel."""
    density: Float[np.ndarray, " _"]
    """The networks, as ``field.glsl`` declares their blocks."""
    color: Float[np.ndarray, " _"]
    environment: Float[np.ndarray, " _"]
    """Empty without one."""


def method_config(config: Config) -> HashConfig:
    """The config of the method, whose field a page can hold.

    Raises:
        ValueError: it cannot, with the reason.
    """
    model = config.model
    if not isinstance(model, HashConfig):
        raise ValueError(
            f"model.method is {model.method!r}, but a web page holds the field of 'hash' only: "
            "train with bricks.py, lego.py or capture.py, or use `run.py view`"
        )
    num_texels = sum(level.num_entries for level in _levels(model))
    _check(model, "max_entries", num_texels, "texels", ROW**2)
    _check(model, "grid_resolution", model.grid_resolution, "cells along a side", MAX_CELLS)
    _check(model, "num_candidates", model.num_candidates, "steps of a ray", ROW)
    return model


def _check(model: HashConfig, name: str, size: int, unit: str, most: int) -> None:
    if size > most:
        raise ValueError(
            f"model.{name} is {getattr(model, name)}, which gives {size:,} {unit}, but a web page "
            f"holds at most {most:,}: train with a smaller one, or use `run.py view`"
        )


def _levels(model: HashConfig) -> tuple[Level, ...]:
    """The levels of the texels."""
    levels = make_levels(
        model.num_levels, model.max_entries, model.min_resolution, model.max_resolution
    )
    return tuple(level for level in levels for _ in range(-(-model.num_features // 4)))


def pack_field(model: HashConfig, params: Params, bits: Bits) -> PackedField:
    """The field of a trained scene.

    Args:
        model: from :func:`method_config`.
        params: those of a :class:`nerf_jax.fields.HashField`.
        bits: of a feature.

    Raises:
        ValueError: the networks are too large.
    """
    own: Any = params["params"]
    kernels = {name: np.asarray(own[name]["kernel"]) for name in own if "_" in name}
    tables, first = _split_features(model, own["tables"], kernels["trunk_0"])
    if bits == 8:
        scales = [np.maximum(np.abs(table).max(axis=0), 1e-12) for table in tables]
        first = first * np.stack(scales)[..., None]
        tables = [
            np.round(127 * table / scale) for table, scale in zip(tables, scales, strict=True)
        ]
    networks = _networks(own, kernels, first)
    largest = max(network.nbytes for network in networks.values())
    _check(model, "width", largest, "bytes of a network", MAX_BLOCK)
    kind = np.float16 if bits == 16 else np.int8
    return PackedField(_levels(model), np.concatenate(tables).astype(kind), **networks)


def _networks(
    own: Any, kernels: Mapping[str, np.ndarray], first: Float[np.ndarray, "L F W"]
) -> dict[str, Float[np.ndarray, " _"]]:
    """The numbers of each network, in the order of the members of its block in ``field.glsl``."""
    head = np.split(kernels["head_0"], [16, 31])  # of the direction, the features and the code
    code = np.asarray(own["codes"]).mean(axis=0) @ head[2] if "codes" in own else 0 * first[0, 0]
    parts = {
        "density": [_matrices(first), _matrices(kernels["trunk_1"])],
        "color": [
            _pad(code, 0, 4),
            _matrices(head[0]),
            _matrices(np.pad(head[1], [(1, 0), (0, 0)])),  # the first feature is the density's
            _matrices(kernels["head_1"]),
            _matrices(kernels["head_2"]),
        ],
        "environment": [
            part
            for name in ("sky_0", "sky_1")
            if name in own
            for part in (_matrices(kernels[name]), _pad(np.asarray(own[name]["bias"]), 0, 4))
        ],
    }
    return {
        name: np.concatenate([np.zeros(0), *(part.ravel() for part in each)]).astype(np.float32)
        for name, each in parts.items()
    }


def _split_features(
    model: HashConfig, tables: Any, kernel: Float[np.ndarray, "LF W"]
) -> tuple[list[np.ndarray], Float[np.ndarray, "L F W"]]:
    """The texels of each level, and the rows of the first kernel that belong to them."""
    size = min(4, model.num_features)
    rows = kernel.reshape(model.num_levels, model.num_features, -1)
    texels = [_pad(np.asarray(table, np.float32), 1, size) for table in tables]
    each = [part for table in texels for part in np.split(table, table.shape[1] // size, axis=1)]
    return each, _pad(rows, 1, size).reshape(len(each), size, -1)


def _pad(array: np.ndarray, axis: int, multiple: int) -> np.ndarray:
    """An array with zeros appended to an axis, up to a multiple of its length."""
    widths = [(0, -array.shape[a] % multiple if a == axis else 0) for a in range(array.ndim)]
    return np.pad(array, widths)


def _matrices(kernel: Float[np.ndarray, "*L I O"]) -> Float[np.ndarray, "_ _ _ 4"]:
    """A kernel as matrices of 4 rows, by groups of inputs and then groups of outputs.

    Args:
        kernel: of groups of inputs; or of I inputs, to be grouped by four.
    """
    if kernel.ndim == 2:
        kernel = _pad(kernel, 0, 4).reshape(-1, 4, kernel.shape[1])
    kernel = _pad(kernel, 2, 4)
    groups, columns, width = kernel.shape
    return kernel.reshape(groups, columns, width // 4, 4).transpose(0, 2, 1, 3)


def pack_bits(occupied: Bool[HostArray, "G G G"]) -> UInt8[np.ndarray, " _"]:
    """The cells as bits, x first: the order of a texture in 3D."""
    return np.packbits(np.asarray(occupied).transpose(2, 1, 0))


def join(arrays: Mapping[str, np.ndarray]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Arrays as bytes, and the place of each: its first byte and their number.

    The bytes of half floats are in two planes, which deflates better: a sixth smaller.
    """
    sections, parts, start = {}, [], 0
    for name, array in arrays.items():
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        content = little.tobytes()
        if array.dtype == np.float16:
            content = np.frombuffer(content, np.uint8).reshape(-1, 2).T.tobytes()
        sections[name] = start, len(content)
        parts.append(content)
        start += len(content)
    return b"".join(parts), sections
