"""Packing: the selected candidates of many rays in a buffer of static size, for use under jit.

A mask selects some candidates of R rays. They are listed ray after ray, near to far, in a buffer of
static capacity M, and the field is evaluated there only. A ray whose candidates do not all fit is
dropped whole, with all rays after it: the result for a ray is always complete.

Notation: ``R`` rays, ``N`` candidates of all rays together, ``M`` the capacity; ``ends[R]`` is
where each ray's slots end in the list, and where the next ray's begin.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

_WORD = 32


class Packed(NamedTuple):
    """M slots, filled from the front with candidates of rays; the rest is unused."""

    index: Int[Array, " M"]  # type: ignore[assignment]  # a tuple has a method of that name
    """Of the candidate, in the list that it was selected from; any index in unused slots."""
    ray: Int[Array, " M"]
    rank: Int[Array, " M"]
    """The number of slots of the same ray before it."""
    valid: Bool[Array, " M"]
    """Whether the slot is filled."""
    ends: Int[Array, " R"]
    """Where each ray's slots end."""
    kept: Bool[Array, " R"]
    """The rays that fit, together with all rays before them: always the first ones."""


def pack(mask: Bool[Array, "R K"], capacity: int) -> Packed:
    """The candidates of each ray where the mask is set.

    Args:
        mask: over K candidates of each of R rays.
        capacity: M.

    Returns:
        The slots; ``index // K`` is the ray and ``index % K`` the candidate.
    """
    num_rays, num_candidates = mask.shape
    ends = (jnp.arange(num_rays) + 1) * num_candidates
    return pack_ragged(mask.reshape(-1), lambda i: i // num_candidates, ends, ends > 0, capacity)


def pack_ragged(
    mask: Bool[Array, " N"],
    ray_of: Callable[[Int[Array, " M"]], Int[Array, " M"]],
    ends: Int[Array, " R"],
    kept: Bool[Array, " R"],
    capacity: int,
) -> Packed:
    """As :func:`pack`, for rays with different numbers of candidates.

    Args:
        mask: over the candidates of all rays.
        ray_of: the rays of some candidates, by their indices.
        ends: where each ray's candidates end.
        kept: the rays to pack; always the first ones.
        capacity: M.
    """
    bits = _Bits.of(mask)
    ends = bits.rank(ends)
    kept = kept & (ends <= capacity)
    total = jnp.max(jnp.where(kept, ends, 0), initial=0)
    ends = jnp.minimum(ends, total)
    slot = jnp.arange(capacity)
    starts = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    index = jnp.minimum(bits.first(capacity), mask.size - 1)
    ray = ray_of(index)
    return Packed(index, ray, slot - starts[ray], slot < total, ends, kept)


def first_set(mask: Bool[Array, " N"], count: int) -> Int[Array, " n"]:
    """The first ``count`` indices where the mask is set; any index if there are fewer."""
    return jnp.minimum(_Bits.of(mask).first(count), mask.size - 1)


def sample_indices(
    key: Array, mask: Bool[Array, " N"], count: int, *, search: str = "scan"
) -> Int[Array, " n"]:
    """Random indices where the mask is set, with replacement; 0 if it is set nowhere.

    ``search`` is a method of :func:`jax.numpy.searchsorted`, on which the result does not depend.
    """
    bits = _Bits.of(mask)
    total = bits.rank(jnp.int32(mask.size))
    index = jax.random.randint(key, (count,), 0, jnp.maximum(total, 1))
    word = jnp.searchsorted(bits.before, index, side="right", method=search).astype(jnp.int32) - 1
    return jnp.where(total > 0, bits.select(index, word), 0)


class _Bits(NamedTuple):
    """A mask as words, with the number of bits set before each: rank and select (Jacobson, 1989).

    The cumulative sum, which is slow on every device, is over words: 32 times fewer than bits.
    """

    words: UInt32[Array, " W"]
    before: Int[Array, " W"]
    """The number of bits set before each word."""

    @classmethod
    def of(cls, mask: Bool[Array, " N"]) -> "_Bits":
        rows = jnp.pad(mask, (0, -mask.size % _WORD)).reshape(-1, _WORD).astype(jnp.uint32)
        words = jnp.sum(rows << jnp.arange(_WORD, dtype=jnp.uint32)[None], axis=1, dtype=jnp.uint32)
        counts = jax.lax.population_count(words).astype(jnp.int32)
        return cls(words, jnp.cumsum(counts) - counts)

    def rank(self, position: Int[Array, "*n"]) -> Int[Array, "*n"]:
        """The number of bits set before a position in [0, N]."""
        # The end of the last word is its 32nd bit.
        word = jnp.minimum(position // _WORD, self.words.size - 1)
        bit = (position - word * _WORD).astype(jnp.uint32)
        ones = jnp.uint32(0xFFFFFFFF)
        below = jnp.where(bit < _WORD, ~(ones << jnp.minimum(bit, _WORD - 1)), ones)
        inside = jax.lax.population_count(self.words[word] & below)
        return self.before[word] + inside.astype(jnp.int32)

    def first(self, count: int) -> Int[Array, " n"]:
        """The positions of the first ``count`` set bits; past them, some past the last word."""
        next_word = jnp.zeros(count, jnp.int32).at[self.before[1:]].add(1, mode="drop")
        return self.select(jnp.arange(count), jnp.cumsum(next_word))

    def select(self, index: Int[Array, " n"], word: Int[Array, " n"]) -> Int[Array, " n"]:
        """The positions of the bits with ``index`` set bits before them, in the given words."""
        left = (index - self.before[word]).astype(jnp.uint32)
        bits, place = self.words[word], jnp.zeros(index.shape, jnp.uint32)
        for width in (16, 8, 4, 2, 1):  # is it in the lower half of the rest of the word?
            lower = jax.lax.population_count(bits & jnp.uint32((1 << width) - 1))
            upper = left >= lower
            left = jnp.where(upper, left - lower, left)
            bits = jnp.where(upper, bits >> width, bits)
            place = jnp.where(upper, place + width, place)
        return word * _WORD + place.astype(jnp.int32)


def cumsum_by_ray(x: Float[Array, "M *d"], packed: Packed, longest: int) -> Float[Array, "M *d"]:
    """Inclusive cumulative sums along each ray.

    Doubling steps (Hillis and Steele, 1986): only values of the same ray are ever added, so a
    ray's sums are the same to the bit wherever it is in the buffer.

    Args:
        x: a value in each slot.
        packed: the slots' rays.
        longest: a bound on the slots of a ray; the number of steps is its logarithm.
    """
    rank = packed.rank.reshape(-1, *[1] * (x.ndim - 1))
    step = 1
    while step < longest:
        shifted = jnp.pad(x, ((step, 0), *[(0, 0)] * (x.ndim - 1)))[: len(x)]
        x = x + jnp.where(rank >= step, shifted, 0.0)
        step *= 2
    return x


def last_of_each_ray(x: Float[Array, "M *d"], packed: Packed) -> Float[Array, "R *d"]:
    """The value in each ray's last slot; zero for rays without slots."""
    starts = jnp.concatenate([jnp.zeros(1, packed.ends.dtype), packed.ends[:-1]])
    some = (packed.ends > starts).reshape(-1, *[1] * (x.ndim - 1))
    return jnp.where(some, x[jnp.maximum(packed.ends - 1, 0)], 0.0)
