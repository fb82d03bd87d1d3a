import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nerf_jax import packing
from nerf_jax.packing import Packed
from tests import oracles

pack = jax.jit(packing.pack, static_argnums=1)


@functools.partial(jax.jit, static_argnums=4)
def pack_ragged(mask, rays, ends, kept, capacity: int) -> Packed:
    return packing.pack_ragged(mask, lambda index: rays[index], ends, kept, capacity)


sample_indices = jax.jit(packing.sample_indices, static_argnums=2, static_argnames="search")
cumsum_by_ray = jax.jit(packing.cumsum_by_ray, static_argnums=2)
last_of_each_ray = jax.jit(packing.last_of_each_ray)

SHAPES = [(1, 1), (3, 32), (5, 13)]
CAPACITIES = [7, 40, 128]


def slow_pack(mask: np.ndarray, ends: np.ndarray, may: np.ndarray, capacity: int) -> Packed:
    """Ray after ray, until one does not fit; only the slots that are filled."""
    slots, slot_ends, kept, start, room = [], [], [], 0, True
    for ray, end in enumerate(ends):
        places = [place for place in range(start, end) if mask[place]]
        room = bool(room and may[ray] and len(slots) + len(places) <= capacity)
        if room:
            slots += [(place, ray, rank) for rank, place in enumerate(places)]
        kept.append(room)
        slot_ends.append(len(slots))
        start = end
    index, ray, rank = np.array(slots, int).reshape(-1, 3).T
    return Packed(index, ray, rank, np.arange(capacity) < len(slots), slot_ends, kept)


def assert_same(packed: Packed, slow: Packed):
    """In all that is filled; the rest is there to be ignored."""
    for name in ("valid", "ends", "kept"):
        np.testing.assert_array_equal(getattr(packed, name), getattr(slow, name), name)
    for name in ("index", "ray", "rank"):
        filled = getattr(packed, name)[: len(slow.index)]
        np.testing.assert_array_equal(filled, getattr(slow, name), name)


# ------------------------------------------------------------------------------------ packing


any_mask = st.sampled_from(SHAPES).flatmap(lambda shape: npst.arrays(bool, shape))
any_case = functools.partial(given, mask=any_mask, capacity=st.sampled_from(CAPACITIES))
quickly = settings(max_examples=100, deadline=None, derandomize=True)


def rows_of(*counts: int) -> np.ndarray:
    """A mask with so many places in the front of each of three rays."""
    return np.arange(32) < np.array(counts)[:, None]


@pytest.mark.slow
@quickly
@any_case()
@example(mask=np.zeros((3, 32), bool), capacity=40)
@example(mask=np.ones((3, 32), bool), capacity=128)
@example(mask=np.ones((3, 32), bool), capacity=40)
@example(mask=rows_of(10, 0, 30), capacity=40)  # as many as there is room for
@example(mask=rows_of(10, 0, 31), capacity=40)  # one more
@example(mask=rows_of(8, 1, 0), capacity=7)  # the first alone is too long
@example(mask=rows_of(0, 8, 0), capacity=7)  # a ray without places is kept before, not after
def test_packing_equals_the_loop(mask: np.ndarray, capacity: int):
    ends = (np.arange(len(mask)) + 1) * mask.shape[1]
    slow = slow_pack(mask.reshape(-1), ends, np.ones(len(mask), bool), capacity)
    assert_same(pack(mask, capacity), slow)


@pytest.mark.slow
@quickly
@any_case()
def test_rays_are_kept_whole_and_the_last_are_dropped(mask: np.ndarray, capacity: int):
    packed = jax.tree.map(np.asarray, pack(mask, capacity))
    counts = mask.sum(axis=1)
    np.testing.assert_array_equal(packed.kept, counts.cumsum() <= capacity)
    assert packed.valid.sum() == packed.ends[-1] == counts[packed.kept].sum()
    for ray in range(len(mask)):
        places = packed.index[packed.valid & (packed.ray == ray)] - ray * mask.shape[1]
        np.testing.assert_array_equal(places, np.flatnonzero(mask[ray] & packed.kept[ray]))


@pytest.mark.slow
@quickly
@given(
    mask=st.sampled_from([1, 64, 70]).flatmap(lambda size: npst.arrays(bool, size)),
    ends=st.lists(st.integers(0, 70), min_size=6, max_size=6).map(sorted),
    first=st.integers(0, 6),
    capacity=st.sampled_from(CAPACITIES),
)
@example(mask=np.ones(64, bool), ends=[0, 0, 32, 32, 64, 64], first=6, capacity=128)
@example(mask=np.ones(70, bool), ends=[0] * 6, first=6, capacity=7)
@example(mask=np.ones(70, bool), ends=[7, 7, 8, 40, 40, 70], first=2, capacity=7)
def test_ragged_packing_equals_the_loop(mask, ends, first: int, capacity: int):
    ends, may = np.minimum(ends, mask.size), np.arange(6) < first
    rays = np.searchsorted(ends, np.arange(mask.size), side="right")
    packed = pack_ragged(mask, jnp.minimum(rays, 5), jnp.asarray(ends), may, capacity)
    assert_same(packed, slow_pack(mask, ends, may, capacity))


def test_packing_what_is_packed_is_packing_where_both_masks_are_set():
    first, second = np.random.default_rng(0).uniform(size=(2, 5, 13)) < 0.6
    coarse = pack(first, 128)
    still = coarse.valid & second.reshape(-1)[np.minimum(coarse.index, second.size - 1)]
    fine = pack_ragged(still, coarse.ray, coarse.ends, coarse.kept, 40)
    slow = slow_pack((first & second).reshape(-1), 13 * np.arange(1, 6), np.ones(5, bool), 40)
    assert_same(fine._replace(index=coarse.index[fine.index]), slow)


@pytest.mark.parametrize("places", [[0], [69], [31, 32], [3, 5, 40, 64, 68], range(70)])
def test_sampling_is_uniform_over_the_set_entries(places):
    mask = np.isin(np.arange(70), places)
    counts = np.bincount(sample_indices(jax.random.key(0), mask, 20_000), minlength=70)
    expected = 20_000 / len(places)
    np.testing.assert_allclose(counts, mask * expected, rtol=0, atol=5 * np.sqrt(expected))
    np.testing.assert_array_equal(counts > 0, mask)


def test_both_searches_sample_the_same():
    mask = np.random.default_rng(0).uniform(size=3000) < 0.1
    np.testing.assert_array_equal(
        *(
            sample_indices(jax.random.key(0), mask, 500, search=search)
            for search in ("scan", "scan_unrolled")
        )
    )


def test_without_set_entries_the_first_is_sampled():
    np.testing.assert_array_equal(
        sample_indices(jax.random.key(0), np.zeros(70, bool), 9), np.zeros(9)
    )


# ----------------------------------------------------------------------- along the packed rays


COUNTS = (5, 0, 1, 32, 3, 0)
MASK = np.arange(32) < np.array(COUNTS)[:, None]
ROOM, LITTLE_ROOM = 48, 16
"""For all; not for the ray of 32 and those after it."""


def slots_of(packed: Packed, ray: int) -> np.ndarray:
    return np.flatnonzero(packed.valid & (packed.ray == ray))


def random_values(packed: Packed, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(len(packed.index), *shape)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [ROOM, LITTLE_ROOM])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("longest", [32, 100])
def test_sums_by_ray_equal_the_loop(capacity: int, shape: tuple[int, ...], longest: int):
    packed = pack(MASK, capacity)
    x = random_values(packed, *shape)
    sums = cumsum_by_ray(x, packed, longest)
    for ray in range(len(COUNTS)):
        mine = slots_of(packed, ray)
        np.testing.assert_allclose(sums[mine], np.cumsum(x[mine], axis=0), rtol=1e-5, atol=1e-5)


def test_rays_of_one_slot_are_their_own_sums():
    packed = pack(np.eye(4, dtype=bool), 7)
    x = random_values(packed)
    np.testing.assert_array_equal(cumsum_by_ray(x, packed, 1), x)


def test_sums_of_a_ray_are_bitwise_equal_at_any_position():
    rng = np.random.default_rng(2)
    ray = (rng.normal(size=(21, 2)) * 10.0 ** rng.integers(-4, 4, (21, 2))).astype(np.float32)
    seen = set()
    for before in ((0, 0), (1, 0), (7, 20), (32, 32)):
        packed = pack(rows_of(*before, len(ray)), 128)
        x, mine = random_values(packed, 2), slots_of(packed, 2)
        x[mine] = ray
        seen.add(np.asarray(cumsum_by_ray(x, packed, 32))[mine].tobytes())
    assert len(seen) == 1


@pytest.mark.slow
@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("ray", [0, 3, 4])
def test_sums_of_a_ray_ignore_all_other_slots(poison: float, ray: int):
    packed = pack(MASK, ROOM)
    mine, clean = slots_of(packed, ray), random_values(packed)
    dirty = np.full_like(clean, poison)
    dirty[mine] = clean[mine]

    @jax.value_and_grad
    def look(x):
        sums = cumsum_by_ray(x, packed, 32)
        return jnp.sum(sums[mine] ** 2) + last_of_each_ray(sums, packed)[ray]

    value, gradient = look(dirty)
    expected_value, expected_gradient = look(clean)
    assert value == expected_value
    np.testing.assert_array_equal(gradient, expected_gradient)
    np.testing.assert_array_equal(np.delete(gradient, mine), 0)


@pytest.mark.parametrize("capacity", [ROOM, LITTLE_ROOM])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_the_last_of_each_ray_is_that_of_its_last_slot_or_zero(
    capacity: int, shape: tuple[int, ...]
):
    packed = pack(MASK, capacity)
    x = random_values(packed, *shape)
    expected = np.zeros((len(COUNTS), *shape), np.float32)
    for ray in range(len(COUNTS)):
        if len(mine := slots_of(packed, ray)):
            expected[ray] = x[mine[-1]]
    np.testing.assert_array_equal(last_of_each_ray(x, packed), expected)


def test_rays_without_slots_end_at_zero_for_any_buffer():
    nothing = pack(np.zeros((3, 32), bool), 7)
    value, back = jax.vjp(lambda x: last_of_each_ray(x, nothing), jnp.full(7, np.nan))
    np.testing.assert_array_equal(value, np.zeros(3))
    np.testing.assert_array_equal(back(jnp.ones(3))[0], np.zeros(7))


@pytest.mark.parametrize("capacity", [ROOM, LITTLE_ROOM])
def test_the_gradients_equal_finite_differences(capacity: int):
    packed = pack(MASK, capacity)
    x, along, last = random_values(packed, 2), random_values(packed, 2), np.arange(6.0) - 2
    filled = packed.valid.astype(np.float32)[:, None]

    @jax.jit
    @jax.grad
    def mine(x):
        sums = cumsum_by_ray(x, packed, 32)
        ends = jnp.asarray(last, jnp.float32) @ last_of_each_ray(sums**2, packed)
        return jnp.sum(filled * along * sums) + jnp.sum(ends)

    def slow(x):
        total = 0.0
        for ray in range(len(COUNTS)):
            slots = slots_of(packed, ray)
            sums = np.cumsum(x[slots], axis=0)
            total += np.sum(along[slots] * sums) + last[ray] * np.sum(sums[-1:] ** 2)
        return total

    np.testing.assert_allclose(mine(x), oracles.gradient(slow, x)[0], rtol=1e-4, atol=1e-4)
