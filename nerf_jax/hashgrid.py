"""The multiresolution hash grid: coordinates read from tables of trainable features.

Instant-NGP (Müller et al., 2022, Section 3). Each level lays a grid over the unit cube; the
features at the eight corners of the cell around a point are interpolated trilinearly, and the
levels' features concatenated. A level whose vertices fit into its table is dense; in a finer one
vertices share entries by a hash, and training resolves the collisions.

Notation: ``L`` levels, ``F`` features of a level, ``T`` entries of a level's table.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Int, UInt32

_PRIMES = (1, 2654435761, 805459861)
"""One for each axis; the first is 1, so that neighbours along x are neighbours in memory."""

Tables = Sequence[Float[Array, "_ F"]]
"""The features, one array a level, so that each level's gradient is one scatter."""


class Level(NamedTuple):
    """The shape of one level."""

    scale: float
    """Cells along an axis of the unit cube; not a whole number in general."""
    resolution: int
    """Vertices along an axis."""
    num_entries: int
    """T."""

    @property
    def dense(self) -> bool:
        """Whether every vertex has its own entry."""
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
    for index in range(num_levels):
        # The published code's rounding, as the numbers of entries depend on it.
        scale = min_resolution * growth**index - 1
        resolution = int(np.ceil(np.float32(scale))) + 1
        vertices = -(-(resolution**3) // 8) * 8
        levels.append(Level(scale, resolution, min(vertices, max_entries)))
    return tuple(levels)


def init_tables(key: Array, levels: Sequence[Level], num_features: int) -> list[Array]:
    """Tables of features uniform in +-1e-4 (Instant-NGP, Section 4)."""
    ends = np.cumsum([level.num_entries for level in levels])
    rows = jax.random.uniform(key, (ends[-1], num_features), minval=-1e-4, maxval=1e-4)
    return jnp.split(rows, ends[:-1])


Corners = Literal["in_turn", "at_once"]
"""How the corners of a cell are read: the same result, to rounding."""


def encode(
    tables: Tables, levels: Sequence[Level], x: Float[Array, "3"], corners: Corners = "in_turn"
) -> Float[Array, " LF"]:
    """The features of a point.

    Args:
        tables: one of [T, F] for each level.
        levels: their shapes.
        x: in the unit cube; outside of it, the nearest position inside is read.
        corners: in turn is faster on a CPU, at once on a GPU.

    Returns:
        ``L * F`` values, coarsest level first.
    """
    x = jnp.clip(x, 0.0, 1.0)
    features = []
    for table, level in zip(tables, levels, strict=True):
        if corners == "at_once":
            features.append(_interpolate_at_once(table, *_corner_entries(level, x)))
        else:
            vertex, fraction = _cell(level, x)
            features.append(_interpolate(table, _entries(level, vertex), fraction))
    return jnp.concatenate(features)


def level_weights(levels: Sequence[Level], variance: Float[Array, ""]) -> Float[Array, " L"]:
    """The weight of each level in the mean over a footprint (Zip-NeRF, Section 4).

    ``erf(1 / sqrt(8 sigma^2 n^2))`` for a level of n cells along an axis: the share of a Gaussian
    within a cell around its centre, along one axis. It approximates the damping of independent
    entries in the mean over a disc of any orientation, the ratio of standard deviations: 0.11
    below it where ``sigma n`` is 0.3, and within 3 % where it is above 1.

    Args:
        levels: their shapes.
        variance: sigma^2, in units of the cube's side.
    """
    spread = 8 * variance * jnp.array([level.scale**2 for level in levels])
    # Below the bound the share is 1 to a double's last bit, and its gradient would be inf * 0.
    return jax.lax.erf(jax.lax.rsqrt(jnp.maximum(spread, 1 / 36)))


Pairs = list[tuple[UInt32[Array, ""], UInt32[Array, ""]]]
"""The vertices before and after a point along x, y and z: slices of an array take longer."""

Fraction = tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]
"""A position within a cell, x, y and z: on a GPU too, XLA would write the slices of one array."""


def _cell(level: Level, x: Float[Array, "3"]) -> tuple[Pairs, Fraction]:
    """The vertices of the cell around a point, and the position within it."""
    pairs, fraction = [], []
    for coordinate in jnp.unstack(x):
        position = coordinate * level.scale + 0.5
        lower = jnp.floor(position)
        vertex = lower.astype(jnp.uint32)
        # The levels' shift of half a cell would reach past the last vertex.
        pairs.append((vertex, jnp.minimum(vertex + 1, level.resolution - 1)))
        fraction.append(position - lower)
    return pairs, (fraction[0], fraction[1], fraction[2])


def _entries(level: Level, pairs: Pairs) -> list[Int[Array, ""]]:
    """The table's rows for a cell's corners; the bits of a corner's index are z, y, x."""
    stride, join = _numbering(level)
    x, y, z = ([v * np.uint32(n) for v in pair] for pair, n in zip(pairs, stride, strict=True))
    corners = [join(join(x[i & 1], y[i >> 1 & 1]), z[i >> 2]) for i in range(8)]
    return [(corner % np.uint32(level.num_entries)).astype(jnp.int32) for corner in corners]


def _numbering(level: Level) -> tuple[tuple[int, ...], Callable[[Array, Array], Array]]:
    """The factors of a vertex's coordinates in its row, and how the products are joined."""
    if level.dense:
        return (1, level.resolution, level.resolution**2), jnp.add
    return _PRIMES, jnp.bitwise_xor


@jax.custom_jvp
def _interpolate(
    table: Float[Array, "T F"], entries: list[Int[Array, ""]], fraction: Fraction
) -> Float[Array, " F"]:
    """Trilinear interpolation of the corners' features.

    Reads corner by corner, so that XLA fuses it into one loop without an array of corners (three
    times faster on a CPU).
    """
    x, y, z = ((1 - share, share) for share in fraction)
    w = [x[i & 1] * y[i >> 1 & 1] * z[i >> 2] for i in range(8)]
    return functools.reduce(jnp.add, [w[i] * _read(table, entries[i]) for i in range(8)])


@jax.custom_jvp
def _interpolate_at_once(
    table: Float[Array, "T F"], entries: Int[Array, "8"], fraction: Fraction
) -> Float[Array, " F"]:
    """:func:`_interpolate` of all corners as one array, for a GPU: XLA fuses the interpolation with
    the indices, which it writes to memory if they are single arrays.
    """
    return _trilinear(_read(table, entries), fraction)


def _trilinear(values: Float[Array, "8 F"], fraction: Fraction) -> Float[Array, " F"]:
    """Interpolation along z, y and x in turn: no array of weights."""
    for share in fraction[::-1]:
        lower, upper = jnp.split(values, 2)
        values = lower + share * (upper - lower)
    return values[0]


def _derivative(interpolate: Callable, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """Of both; all corners at once, so that its transpose, the table's gradient, is one scatter."""
    table, entries, fraction = primals
    d_table, _, d_fraction = tangents
    rows = jnp.stack(entries) if isinstance(entries, list) else entries
    out, d_out = interpolate(table, entries, fraction), jnp.zeros_like(table[0])
    if not all(type(one) is SymbolicZero for one in d_fraction):
        values = _read(table, rows)
        d_out = jax.jvp(lambda *fraction: _trilinear(values, fraction), fraction, d_fraction)[1]
    if type(d_table) is not SymbolicZero:
        w = jnp.float32(1)
        for axis, share in enumerate(fraction):
            w = w * jnp.where(np.arange(8) >> axis & 1 == 1, share, 1 - share)
        d_out = d_out + jnp.sum(w[:, None] * _read(d_table, rows), axis=0)
    return out, d_out


for _function in (_interpolate, _interpolate_at_once):
    _function.defjvp(functools.partial(_derivative, _function), symbolic_zeros=True)


def _corner_entries(level: Level, x: Float[Array, "3"]) -> tuple[Int[Array, "8"], Fraction]:
    """The rows of a cell's corners as one array, and the position within the cell."""
    stride, join = _numbering(level)
    entries, fraction = jnp.uint32(0), []
    for axis in range(3):
        position = x[axis] * level.scale + 0.5
        lower = jnp.floor(position)
        fraction.append(position - lower)
        vertex = lower.astype(jnp.uint32) + (np.arange(8, dtype=np.uint32) >> axis & 1)
        entries = join(entries, jnp.minimum(vertex, level.resolution - 1) * np.uint32(stride[axis]))
    rows = (entries % np.uint32(level.num_entries)).astype(jnp.int32)
    return rows, (fraction[0], fraction[1], fraction[2])


def _read(table: Float[Array, "T F"], entries: Int[Array, "*n"]) -> Float[Array, "*n F"]:
    return table.at[entries].get(mode="promise_in_bounds")
