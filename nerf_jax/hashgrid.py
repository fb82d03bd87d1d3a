"""The multiresolution hash grid: coordinates read from tables of trainable features.

Instant-NGP (Müller et al., 2022, Section 3). Each level lays a grid over the unit cube; the
features at the eight corners of the cell around a point are blended trilinearly, and the levels'
features stand side by side. A level whose vertices fit into its table is dense; a finer one
shares the table's entries by a hash of the vertex, and leaves it to training to sort out who
matters.

Notation: ``L`` levels, ``F`` features of a level, ``T`` entries of a level's table.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Int, UInt32

_PRIMES = (1, 2654435761, 805459861)
"""One for each axis; the first is 1 so that neighbours along x stay neighbours in memory."""

Tables = Sequence[Float[Array, "_ F"]]
"""The features, one array a level: each has its own gradient, by one scatter."""


class Level(NamedTuple):
    """The shape of one level."""

    scale: float
    """Cells along an axis of the unit cube; need not be whole."""
    resolution: int
    """Vertices along an axis."""
    num_entries: int
    """T."""

    @property
    def dense(self) -> bool:
        """Whether every vertex has an entry of its own."""
        return self.resolution**3 <= self.num_entries


def make_levels(
    num_levels: int, max_entries: int, min_resolution: int, max_resolution: int
) -> tuple[Level, ...]:
    """The levels, their resolutions in geometric progression (Instant-NGP, Eqs. 2 and 3).

    Args:
        num_levels: L.
        max_entries: of a level's table; any number, powers of two being the fastest.
        min_resolution, max_resolution: of the coarsest and the finest level.

    Raises:
        ValueError: a number is out of its range.
    """
    if num_levels < 1 or max_entries < 1 or not 2 <= min_resolution <= max_resolution:
        raise ValueError(
            "a hash grid needs at least 1 level, 1 entry and 2 <= min_resolution <= "
            f"max_resolution, but has {num_levels}, {max_entries}, {min_resolution} and "
            f"{max_resolution}"
        )
    growth = (max_resolution / min_resolution) ** (1 / max(1, num_levels - 1))
    levels = []
    for number in range(num_levels):
        # As the published code has it, to the rounding: the counts of entries depend on it.
        scale = min_resolution * growth**number - 1
        resolution = int(np.ceil(np.float32(scale))) + 1
        vertices = -(-(resolution**3) // 8) * 8
        levels.append(Level(scale, resolution, min(vertices, max_entries)))
    return tuple(levels)


def init_tables(key: Array, levels: Sequence[Level], num_features: int) -> list[Array]:
    """Tables of features uniform in +-1e-4 (Instant-NGP, Section 4)."""
    keys = jax.random.split(key, len(levels))
    return [
        jax.random.uniform(k, (level.num_entries, num_features), minval=-1e-4, maxval=1e-4)
        for k, level in zip(keys, levels, strict=True)
    ]


def encode(tables: Tables, levels: Sequence[Level], x: Float[Array, "3"]) -> Float[Array, " LF"]:
    """The features of a point.

    Args:
        tables: one of [T, F] for each level.
        levels: their shapes.
        x: in the unit cube; outside, the nearest place within is read.

    Returns:
        ``L * F`` values, coarsest level first.
    """
    x = jnp.clip(x, 0.0, 1.0)
    features = []
    for table, level in zip(tables, levels, strict=True):
        vertex, part = _cell(level, x)
        features.append(_blend(table, _entries(level, vertex), part))
    return jnp.concatenate(features)


def level_weights(levels: Sequence[Level], variance: Float[Array, ""]) -> Float[Array, " L"]:
    """How much of each level is left in the mean over a footprint (Zip-NeRF, Section 4).

    ``erf(1 / sqrt(8 sigma^2 n^2))`` of a level of n cells along an axis: the part of a Gaussian
    that is within a cell, along one axis and around its middle. It is what the mean over a disc,
    turned anyhow, keeps of a level of unrelated entries: the ratio of standard deviations, from
    0.11 less where ``sigma n`` is 0.3 to the same within 3 % where it is above 1.

    Args:
        levels: their shapes.
        variance: sigma^2, in units of the cube's side.
    """
    spread = 8 * variance * jnp.array([level.scale**2 for level in levels])
    # Beyond the bound all is within the cell, to the last bit of a double; the gradient would be
    # infinity times zero there.
    return jax.lax.erf(jax.lax.rsqrt(jnp.maximum(spread, 1 / 36)))


def _cell(level: Level, x: Float[Array, "3"]) -> tuple[UInt32[Array, "2 3"], Float[Array, "3"]]:
    """The lower and the upper vertex of the cell around a point, and how far between they lie."""
    place = x * level.scale + 0.5
    lower = jnp.floor(place)
    vertex = lower.astype(jnp.uint32)
    # The half cell by which the levels are shifted would reach past the last vertex.
    return jnp.stack([vertex, jnp.minimum(vertex + 1, level.resolution - 1)]), place - lower


def _entries(level: Level, vertex: UInt32[Array, "2 3"]) -> Int[Array, "8"]:
    """The table's rows for a cell's corners; the corner's bits are z, y, x."""
    stride = (1, level.resolution, level.resolution**2) if level.dense else _PRIMES
    x, y, z = (vertex[:, axis] * np.uint32(stride[axis]) for axis in range(3))
    join = jnp.add if level.dense else jnp.bitwise_xor
    corners = [join(join(x[i & 1], y[i >> 1 & 1]), z[i >> 2]) for i in range(8)]
    return (jnp.stack(corners) % np.uint32(level.num_entries)).astype(jnp.int32)


def _corner_weights(part: Float[Array, "3"]) -> Float[Array, "8"]:
    """The weights of a cell's corners, in the order of :func:`_entries`."""
    x, y, z = jnp.stack([1 - part, part], axis=1)
    return jnp.stack([x[i & 1] * y[i >> 1 & 1] * z[i >> 2] for i in range(8)])


@jax.custom_jvp
def _blend(
    table: Float[Array, "T F"], entries: Int[Array, "8"], part: Float[Array, "3"]
) -> Float[Array, " F"]:
    """The corners' features, blended.

    Reads corner by corner, so that XLA makes one loop of it and keeps no array of corners (three
    times faster on a CPU); its derivative below reads all corners at once, so that the table's
    gradient, the transpose, is one scatter and not eight.
    """
    w = _corner_weights(part)
    return sum(
        (w[i] * _read(table, entries[i]) for i in range(1, 8)),
        start=w[0] * _read(table, entries[0]),
    )


def _blend_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    table, entries, part = primals
    d_table, _, d_part = tangents
    out, w = _blend(table, entries, part), _corner_weights(part)
    d_out = jnp.zeros_like(out)
    if type(d_table) is not SymbolicZero:
        d_out = d_out + w @ _read(d_table, entries)
    if type(d_part) is not SymbolicZero:
        d_w = jax.jvp(_corner_weights, (part,), (d_part,))[1]
        d_out = d_out + d_w @ _read(table, entries)
    return out, d_out


_blend.defjvp(_blend_jvp, symbolic_zeros=True)


def _read(table: Float[Array, "T F"], entries: Int[Array, "*n"]) -> Float[Array, "*n F"]:
    return table.at[entries].get(mode="promise_in_bounds")
