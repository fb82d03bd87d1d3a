import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nerf_jax import compositing, losses
from nerf_jax.losses import huber, squared_error
from nerf_jax.packing import pack
from tests import oracles

distortion = jax.jit(losses.distortion)
interlevel = jax.jit(losses.interlevel)
distortion_slopes = jax.jit(jax.grad(losses.distortion, (0, 1)))
interlevel_slopes = jax.jit(jax.value_and_grad(losses.interlevel, 3))
checked = settings(max_examples=100, deadline=None, derandomize=True)


def test_squared_error_is_the_mean_over_channels_of_each_ray():
    rng = np.random.default_rng(0)
    rgb, target = rng.uniform(size=(2, 4, 3)).astype(np.float32)
    errors = squared_error(jnp.asarray(rgb), jnp.asarray(target))
    for i in range(4):
        slow = sum((float(rgb[i, k]) - float(target[i, k])) ** 2 for k in range(3)) / 3
        np.testing.assert_allclose(errors[i], slow, rtol=1e-5)


def test_the_gradient_of_the_squared_error_points_to_the_target_and_is_zero_there():
    rgb, target = jnp.array([0.5, 0.2, 0.9]), jnp.array([0.2, 0.2, 1.0])
    value, gradient = jax.value_and_grad(squared_error)(rgb, target)
    np.testing.assert_allclose(value, (0.09 + 0.01) / 3, rtol=1e-5)
    np.testing.assert_allclose(gradient, [0.2, 0, -0.2 / 3], rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(squared_error)(target, target), np.zeros(3))


@pytest.mark.slow
@pytest.mark.parametrize("delta", [0.03, 0.1, 5.0])
def test_the_huber_loss_is_optax_divided_by_delta(delta: float):
    rng = np.random.default_rng(1)
    rgb, target = jnp.asarray(rng.uniform(size=(2, 50, 3)), jnp.float32)
    expected = optax.losses.huber_loss(rgb, target, delta=delta).mean(axis=-1) / delta
    np.testing.assert_allclose(huber(rgb, target, delta), expected, rtol=1e-5)

    def mine(rgb):
        return huber(rgb, target, delta).sum()

    def theirs(rgb):
        return optax.losses.huber_loss(rgb, target, delta=delta).mean(axis=-1).sum() / delta

    np.testing.assert_allclose(jax.grad(mine)(rgb), jax.grad(theirs)(rgb), rtol=1e-5, atol=1e-7)


def test_the_slope_of_huber_is_one_far_away_and_zero_at_the_target():
    target = jnp.array([0.2, 0.5, 1.0])
    for error in (0.0, 0.1, 0.1001):  # at the target, and on both sides of the bend
        slope = jax.grad(huber)(target - error, target, 0.1)
        np.testing.assert_allclose(slope, np.full(3, -min(error / 0.1, 1) / 3), rtol=1e-3)
    np.testing.assert_allclose(jax.grad(huber)(target + 9.0, target, 0.1), np.full(3, 1 / 3))


def test_a_photometric_loss_is_huber_or_without_a_bound_the_squared_error():
    rgb, target = jnp.linspace(0, 1, 12).reshape(2, 2, 3)
    for delta, expected in ((0.1, huber(rgb, target, 0.1)), (0.0, squared_error(rgb, target))):
        np.testing.assert_array_equal(losses.photometric(rgb, target, delta), expected)


# ---------------------------------------------------------------------------------- depths


def test_the_depth_error_is_huber_of_the_log_ratio():
    rng = np.random.default_rng(2)
    depth, known = np.exp(rng.uniform(-3, 5, (2, 50))).astype(np.float32)
    depth[:5] = known[:5] * np.linspace(0.95, 1.05, 5, dtype=np.float32)
    ratio = np.log(depth / known)
    expected = optax.losses.huber_loss(ratio, delta=0.1) / 0.1
    found = losses.depth_error(jnp.asarray(depth), jnp.asarray(known))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    in_feet = losses.depth_error(3.28 * jnp.asarray(depth), 3.28 * jnp.asarray(known))
    np.testing.assert_allclose(in_feet, found, rtol=1e-3, atol=1e-6)


def test_the_gradient_of_a_depth_points_to_the_known_one_and_is_zero_there():
    depth = jnp.array([3.0, 2.0, 2.02, 1.0, 100.0, 100.0])
    known = jnp.array([2.0, 2.0, 2.0, 2.0, 2.0, 0.0])
    slopes = jax.grad(lambda depth: jnp.sum(losses.depth_error(depth, known)))(depth)
    # Far off the slope of the logarithm; within delta, as much of it as it is off.
    expected = [1 / 3, 0, np.log(1.01) / 0.1 / 2.02, -1, 1 / 100, 0]
    np.testing.assert_allclose(slopes, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(losses.depth_error(depth, known)[jnp.array([1, 5])], 0)


@pytest.mark.slow
@pytest.mark.parametrize("log_sigma", [-60.0, -18.0, -14.0, -5.0, 0.0, 5.0])
def test_gradients_of_depths_are_bounded_at_any_density(log_sigma: float):
    """As the logarithm of a density is what is learned. From mist to a wall, of 1 to 100 long."""
    edges = jnp.geomspace(0.1, 100.0, 65)

    def error(log_sigma):
        w = compositing.weights(jnp.exp(log_sigma), jnp.diff(edges))
        seen = compositing.composite(w, jnp.ones((64, 3)), edges)
        return losses.depth_error(seen.depth, jnp.float32(2.0))

    slopes = jax.jit(jax.grad(error))(jnp.full(64, log_sigma))
    assert np.isfinite(slopes).all()
    assert jnp.abs(slopes).sum() < 3


@pytest.mark.slow
def test_termination_is_the_likelihood_of_a_known_depth():
    """Against a loop over the samples of each ray, in float64."""
    rng = np.random.default_rng(4)
    counts = np.array([5, 0, 3, 7])
    ray = np.repeat(np.arange(4), counts)
    w, t = rng.uniform(0, 0.2, 16).astype(np.float32), rng.uniform(0, 9, 16).astype(np.float32)
    w, t, known = w[:15], t[:15], np.array([3.0, 2.0, 0.0, 5.0], np.float32)
    mask = np.arange(8)[None] < counts[:, None]
    packed = pack(jnp.asarray(mask), 15)
    assert np.array_equal(packed.ray[:15], ray)

    @jax.jit
    def loss(w, t):
        return losses.termination_packed(w, t, jnp.asarray(known), packed, 8)

    found = loss(jnp.asarray(w), jnp.asarray(t))

    expected = [
        0.0
        if depth == 0
        else -np.log(
            0.01
            + sum(
                float(w[i]) * np.exp(-((np.log(float(t[i])) - np.log(depth)) ** 2) / 0.02)
                for i in np.flatnonzero(ray == index)
            )
        )
        for index, depth in enumerate(known.astype(float))
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found[1] == pytest.approx(-np.log(0.01)), "a ray without samples"
    slopes = jax.jit(jax.grad(lambda w, t: jnp.sum(loss(w, t)), argnums=(0, 1)))(
        w, jnp.asarray(t).at[0].set(0.0)
    )
    assert all(np.isfinite(slope).all() for slope in slopes)
    assert (slopes[0] <= 0).all(), "more light near it is never worse"


def random_ray(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights that sum to less than 1, and edges in [0, 1]."""
    rng = np.random.default_rng(seed)
    w, gaps = rng.exponential(size=count), rng.uniform(0.05, 1.0, count)
    edges = np.concatenate([[0.0], np.cumsum(gaps) / gaps.sum()])
    return (0.9 * w / w.sum()).astype(np.float32), edges.astype(np.float32)


# Powers of two and sums of few: so that halving and scaling are exact.
some_lengths = npst.arrays(np.float32, 6, elements=st.sampled_from([0.0, 2.0**-10, 0.5, 1, 100]))
some_masses = npst.arrays(np.float32, 6, elements=st.sampled_from([0.0, 1e-30, 1e-6, 0.1, 1.0]))


def edges_of(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(lengths)]).astype(np.float32)


# ------------------------------------------------------------------------------ distortion


def slow_distortion(w, edges) -> float:
    """Over all pairs."""
    total, count = 0.0, len(w)
    middles = [(float(edges[i]) + float(edges[i + 1])) / 2 for i in range(count)]
    for i in range(count):
        for j in range(count):
            total += float(w[i]) * float(w[j]) * abs(middles[i] - middles[j])
        total += float(w[i]) ** 2 * (float(edges[i + 1]) - float(edges[i])) / 3
    return total


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_the_distortion_equals_the_sum_over_all_pairs(count: int):
    w, edges = random_ray(count, seed=count)
    np.testing.assert_allclose(distortion(w, edges), slow_distortion(w, edges), rtol=1e-5)


def test_the_distortion_is_the_mean_distance_of_two_positions_sampled_by_weight():
    w, edges = random_ray(5)
    rng = np.random.default_rng(1)
    interval = rng.choice(5, (2, 400_000), p=np.float64(w) / np.float64(w).sum())
    place = edges[interval] + rng.uniform(size=interval.shape) * np.diff(edges)[interval]
    apart = np.abs(place[0] - place[1]).mean() * w.sum() ** 2
    np.testing.assert_allclose(distortion(w, edges), apart, rtol=0.005)


def test_the_distortion_keeps_its_precision_behind_a_surface():
    """A trace of weight far behind, which a difference of sums would lose in rounding."""
    w, edges = np.float32([1, 0, 1e-10]), np.float32([0, 0, 1, 1])
    np.testing.assert_allclose(distortion(w, edges), 2e-10, rtol=1e-5)


@checked
@given(lengths=some_lengths, w=some_masses)
def test_the_distortion_is_never_negative_and_splitting_intervals_changes_nothing(lengths, w):
    edges = edges_of(lengths)
    whole = float(distortion(w, edges))
    assert whole >= 0
    halves = np.sort(np.append(edges, (edges[1:] + edges[:-1]) / 2))
    cut = distortion(np.repeat(w / 2, 2), halves)
    np.testing.assert_allclose(cut, whole, rtol=1e-4, atol=1e-30)


@checked
@given(
    lengths=some_lengths,
    w=some_masses,
    scale=st.sampled_from([0.125, 8.0]),
    part=st.floats(0, 1, width=32),
)
def test_the_distortion_scales_with_length_and_squared_weight(lengths, w, scale, part):
    edges = edges_of(lengths)
    once = float(distortion(w, edges))
    longer = distortion(w, edges * np.float32(scale))
    np.testing.assert_allclose(longer, scale * once, rtol=1e-4, atol=1e-30)
    several = distortion(w * np.float32(part), edges)
    np.testing.assert_allclose(several, part**2 * once, rtol=1e-4, atol=1e-30)


def test_the_gradient_of_the_distortion_equals_finite_differences():
    w, edges = random_ray(6)
    mine = distortion_slopes(w, edges)
    slow = oracles.gradient(slow_distortion, w, edges)
    for gradient, differences in zip(mine, slow, strict=True):
        np.testing.assert_allclose(gradient, differences, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("w", [np.zeros(4), np.eye(4)[0], np.eye(4)[3], np.full(4, 1e-30)])
@pytest.mark.parametrize("edges", [np.zeros(5), np.arange(5), np.array([0, 1, 1, 1, 1e10])])
def test_the_gradients_of_the_distortion_are_finite(w: np.ndarray, edges: np.ndarray):
    for gradient in distortion_slopes(np.float32(w), np.float32(edges)):
        assert np.isfinite(gradient).all()


# ------------------------------------------------------------------------------ and packed

NUM_RAYS, NUM_PLACES = 4, 9


@jax.jit
def both_distortions(mask, w, edges):
    """Of packed intervals, and of all of them with nothing where the mask is not set."""
    packed = pack(mask, 20)
    lengths = jnp.diff(edges)[packed.index % NUM_PLACES]
    middles = ((edges[1:] + edges[:-1]) / 2)[packed.index % NUM_PLACES]

    def sparse(w):
        there = w.reshape(-1)[packed.index]
        return losses.distortion_packed(there, middles, lengths, packed, NUM_PLACES)

    def plain(w):
        seen = jnp.where(mask & packed.kept[:, None], w, 0.0)
        return jax.vmap(losses.distortion, (0, None))(seen, edges)

    weights_of_rays = jnp.arange(1.0, NUM_RAYS + 1)
    return [
        (one(w), jax.grad(lambda w, one=one: jnp.sum(weights_of_rays * one(w)))(w))
        for one in (sparse, plain)
    ]


@pytest.mark.slow
@checked
@given(mask=npst.arrays(bool, (NUM_RAYS, NUM_PLACES)), seed=st.integers(0, 99))
@example(mask=np.zeros((NUM_RAYS, NUM_PLACES), bool), seed=0)
@example(mask=np.ones((NUM_RAYS, NUM_PLACES), bool), seed=0)  # two rays find no room
def test_packed_distortions_and_their_gradients_are_the_plain_ones(mask: np.ndarray, seed: int):
    w = np.stack([random_ray(NUM_PLACES, NUM_RAYS * seed + ray)[0] for ray in range(NUM_RAYS)])
    sparse, plain = both_distortions(mask, w, random_ray(NUM_PLACES, seed)[1])
    for mine, other in zip(sparse, plain, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_packed_intervals_may_have_one_length():
    packed, w = pack(jnp.ones((2, 3), bool), 8), jnp.linspace(0.1, 0.4, 8)
    t = jnp.array([0.5, 1.5, 2.5] * 2 + [0.0, 0.0])
    mine = losses.distortion_packed(w, t, jnp.float32(1), packed, 3)
    for ray in range(2):
        slow = slow_distortion(w[3 * ray : 3 * ray + 3], np.arange(4))
        np.testing.assert_allclose(mine[ray], slow, rtol=1e-5)


# ------------------------------------------------------------------------------ interlevel


def slow_interlevel(edges, w, proposal_edges, proposal_w) -> float:
    """Each interval against each of the proposal's."""
    total = 0.0
    for i, weight in enumerate(w):
        bound = 0.0
        for j, proposed in enumerate(proposal_w):
            start = max(edges[i], proposal_edges[j])
            end = min(edges[i + 1], proposal_edges[j + 1])
            bound += float(proposed) if start < end else 0.0
        if weight > bound:
            total += (float(weight) - bound) ** 2 / float(weight)
    return total


@pytest.mark.slow
@pytest.mark.parametrize(("fine", "proposed"), [(1, 1), (12, 5), (5, 12), (1, 6), (6, 1), (32, 32)])
def test_the_interlevel_loss_equals_the_loop(fine: int, proposed: int):
    w, edges = random_ray(fine, seed=2)
    proposal_w, proposal_edges = random_ray(proposed, seed=3)
    for scale in (0.0, 0.3, 1.0):  # a proposal that sees nothing, too little, and about enough
        given = edges, w, proposal_edges, np.float32(scale) * proposal_w
        np.testing.assert_allclose(interlevel(*given), slow_interlevel(*given), rtol=1e-4)


def test_intervals_that_only_touch_cover_nothing():
    edges = jnp.array([0.0, 1.0, 2.0, 3.0])
    w, proposal_w = jnp.array([0.0, 0.5, 0.0]), jnp.array([0.4, 0.3, 0.2])
    np.testing.assert_allclose(interlevel(edges, w, edges, proposal_w), 0.2**2 / 0.5, rtol=1e-5)


@checked
@given(lengths=some_lengths, w=some_masses, group=st.integers(1, 6))
def test_a_proposal_that_bounds_the_weights_has_no_loss(lengths, w, group: int):
    """However coarse; and so is one that sees more."""
    edges, places = edges_of(lengths), [*range(0, 6, group), 6]
    w = np.where(lengths > 0, w, np.float32(0))  # there is nothing where there is no length
    proposal_w = np.add.reduceat(w, places[:-1])
    for more in (0.0, 0.5):
        loss = interlevel(edges, w, edges[np.array(places)], proposal_w + np.float32(more))
        np.testing.assert_allclose(loss, 0, atol=1e-6)


@checked
@given(lengths=some_lengths, w=some_masses, proposal_w=some_masses, place=st.integers(0, 5))
def test_a_larger_proposal_never_costs_and_the_loss_is_at_most_the_weight(
    lengths, w, proposal_w, place
):
    edges = edges_of(lengths)
    proposal_edges = np.linspace(edges[0], edges[-1], 7, dtype=np.float32)
    loss = interlevel(edges, w, proposal_edges, proposal_w)
    more = interlevel(
        edges, w, proposal_edges, proposal_w + 0.3 * np.eye(6, dtype=np.float32)[place]
    )
    assert 0 <= more <= loss + 1e-5
    assert loss <= w.sum() * (1 + 1e-6)


@pytest.mark.slow
def test_only_the_proposal_has_a_gradient_and_it_equals_finite_differences():
    w, edges = random_ray(12, seed=2)
    proposal_w, proposal_edges = random_ray(5, seed=3)
    proposal_w = proposal_w * np.float32(0.4)
    slopes = jax.grad(losses.interlevel, (0, 1, 2, 3))(edges, w, proposal_edges, proposal_w)
    for slope in slopes[:3]:
        np.testing.assert_array_equal(slope, np.zeros_like(slope))
    slow = oracles.gradient(lambda p: slow_interlevel(edges, w, proposal_edges, p), proposal_w)[0]
    np.testing.assert_allclose(slopes[3], slow, rtol=1e-3)
    assert (slopes[3] < 0).any()


@pytest.mark.parametrize("w", [np.zeros(4), np.eye(4)[0], np.full(4, 1e-38), np.full(4, 1e-8)])
@pytest.mark.parametrize("proposal_w", [np.zeros(3), np.eye(3)[2], np.full(3, 1e-38)])
@pytest.mark.parametrize("edges", [np.zeros(5), np.arange(5), np.array([0, 1, 1, 1, 4])])
def test_the_gradients_of_the_interlevel_loss_are_finite(w, proposal_w, edges):
    proposal_edges = np.linspace(edges[0], edges[-1], 4)
    given = [np.float32(part) for part in (edges, w, proposal_edges, proposal_w)]
    value, gradient = interlevel_slopes(*given)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_batches_of_rays_equal_loops():
    rays = [random_ray(7, seed) for seed in range(3)]
    proposals = [random_ray(4, seed) for seed in range(3, 6)]
    w, edges, proposal_w, proposal_edges = (
        np.stack(part) for pairs in (rays, proposals) for part in zip(*pairs, strict=True)
    )
    apart = jax.vmap(distortion)(w, edges)
    unseen = jax.vmap(interlevel)(edges, w, proposal_edges, proposal_w)
    for i in range(3):
        np.testing.assert_allclose(apart[i], distortion(w[i], edges[i]), rtol=1e-6)
        one = interlevel(edges[i], w[i], proposal_edges[i], proposal_w[i])
        np.testing.assert_allclose(unseen[i], one, rtol=1e-5)
