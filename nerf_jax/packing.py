"""Few places out of many, in buffers of static size: what makes sparse rendering fast under jit.

A mask over the places of R rays says which are worth looking at. They are listed ray after ray,
near to far, in a buffer of static capacity M, and only there is the field evaluated. A ray whose
places do not all fit is left out whole, with all rays after it: what is computed for a ray is
always complete.

Notation: ``R`` rays, ``N`` places of all rays together, ``M`` the capacity; ``ends[R]`` is where
each ray's places end in their list, and so where the next ray's begin.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

_WORD = 32


class Packed(NamedTuple):
    """M slots, filled from the front with places of rays; the rest are there to be ignored."""

    index: Int[Array, " M"]  # type: ignore[assignment]  # a tuple has a method of that name
    """Of the place, in the list it was chosen from; in unfilled slots, of any place there."""
    ray: Int[Array, " M"]
    rank: Int[Array, " M"]
    """How many of its ray's slots come before."""
    valid: Bool[Array, " M"]
    """Whether the slot is filled."""
    ends: Int[Array, " R"]
    """Where each ray's slots end."""
    kept: Bool[Array, " R"]
    """The rays whose places, and those of all before, found room: always the first so many."""


def pack(mask: Bool[Array, "R K"], capacity: int) -> Packed:
    """The places of each ray where the mask is set.

    Args:
        mask: over K candidates of each of R rays.
        capacity: M.

    Returns:
        The places; ``index // K`` is the ray and ``index % K`` the candidate.
    """
    num_rays, num_candidates = mask.shape
    ends = (jnp.arange(num_rays) + 1) * num_candidates
    return pack_ragged(mask.reshape(-1), ends, jnp.ones(num_rays, bool), capacity)


def pack_ragged(
    mask: Bool[Array, " N"], ends: Int[Array, " R"], kept: Bool[Array, " R"], capacity: int
) -> Packed:
    """As :func:`pack`, for rays with lists of their own lengths.

    Args:
        mask: over the places of all rays.
        ends: where each ray's places end among them.
        kept: rays that may be; the first so many.
        capacity: M.
    """
    bits = _Bits.of(mask)
    ends = bits.rank(ends)
    kept = kept & (ends <= capacity)
    total = jnp.max(jnp.where(kept, ends, 0), initial=0)
    ends = jnp.minimum(ends, total)
    slot = jnp.arange(capacity)
    ray = jnp.minimum(_owner(ends, capacity), len(ends) - 1)
    starts = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    index = bits.select(slot, _owner(bits.before[1:], capacity))
    index = jnp.minimum(index, mask.size - 1)
    return Packed(index, ray, slot - starts[ray], slot < total, ends, kept)


def sample_indices(key: Array, mask: Bool[Array, " N"], count: int) -> Int[Array, " n"]:
    """Positions where the mask is set, at random and with replacement; position 0 if nowhere."""
    bits = _Bits.of(mask)
    total = bits.rank(jnp.int32(mask.size))
    number = jax.random.randint(key, (count,), 0, jnp.maximum(total, 1))
    word = jnp.searchsorted(bits.before, number, side="right").astype(jnp.int32) - 1
    return jnp.where(total > 0, bits.select(number, word), 0)


class _Bits(NamedTuple):
    """A mask as words, with what comes before each: rank and select (Jacobson, 1989).

    Only the words, and never the places, are summed up along the whole: 32 times less of what is
    slow on every device.
    """

    words: UInt32[Array, " W"]
    before: Int[Array, " W"]
    """How many are set before each word."""

    @classmethod
    def of(cls, mask: Bool[Array, " N"]) -> "_Bits":
        rows = jnp.pad(mask, (0, -mask.size % _WORD)).reshape(-1, _WORD).astype(jnp.uint32)
        words = jnp.sum(rows << jnp.arange(_WORD, dtype=jnp.uint32)[None], axis=1, dtype=jnp.uint32)
        counts = jax.lax.population_count(words).astype(jnp.int32)
        return cls(words, jnp.cumsum(counts) - counts)

    def rank(self, position: Int[Array, "*n"]) -> Int[Array, "*n"]:
        """How many are set before a position in [0, N]."""
        # The end of the last word is asked for as the 32nd bit of it.
        word = jnp.minimum(position // _WORD, self.words.size - 1)
        bit = (position - word * _WORD).astype(jnp.uint32)
        ones = jnp.uint32(0xFFFFFFFF)
        below = jnp.where(bit < _WORD, ~(ones << jnp.minimum(bit, _WORD - 1)), ones)
        inside = jax.lax.population_count(self.words[word] & below)
        return self.before[word] + inside.astype(jnp.int32)

    def select(self, number: Int[Array, " n"], word: Int[Array, " n"]) -> Int[Array, " n"]:
        """The positions of those set before which ``number`` others are, ``word`` theirs."""
        left = (number - self.before[word]).astype(jnp.uint32)
        bits, place = self.words[word], jnp.zeros(number.shape, jnp.uint32)
        for width in (16, 8, 4, 2, 1):  # is it in the lower half of what is left of the word?
            lower = jax.lax.population_count(bits & jnp.uint32((1 << width) - 1))
            upper = left >= lower
            left = jnp.where(upper, left - lower, left)
            bits = jnp.where(upper, bits >> width, bits)
            place = jnp.where(upper, place + width, place)
        return word * _WORD + place.astype(jnp.int32)


def _owner(ends: Int[Array, " R"], count: int) -> Int[Array, " M"]:
    """Whose list each of the first ``count`` places is in, where lists end at ``ends``.

    That is how many lists end at or before it; past the last, their number.
    """
    marks = jnp.zeros(count, jnp.int32).at[ends].add(1, mode="drop")
    return jnp.cumsum(marks)


def cumsum_by_ray(x: Float[Array, "M *d"], packed: Packed, longest: int) -> Float[Array, "M *d"]:
    """Sums along each ray up to and with each slot.

    Doubling steps (Hillis and Steele, 1986): only values of the same ray are ever added, so a
    ray's sums are the same to the bit wherever it stands in the buffer.

    Args:
        x: a value in each slot.
        packed: whose rays.
        longest: no ray has more slots than that; the number of steps is its logarithm.
    """
    rank = packed.rank.reshape(-1, *[1] * (x.ndim - 1))
    step = 1
    while step < longest:
        shifted = jnp.pad(x, ((step, 0), *[(0, 0)] * (x.ndim - 1)))[: len(x)]
        x = x + jnp.where(rank >= step, shifted, 0.0)
        step *= 2
    return x


def last_of_each_ray(x: Float[Array, "M *d"], packed: Packed) -> Float[Array, "R *d"]:
    """What stands in each ray's last slot; zero for rays without any."""
    starts = jnp.concatenate([jnp.zeros(1, packed.ends.dtype), packed.ends[:-1]])
    some = (packed.ends > starts).reshape(-1, *[1] * (x.ndim - 1))
    return jnp.where(some, x[jnp.maximum(packed.ends - 1, 0)], 0.0)
