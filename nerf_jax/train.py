"""Training: the state, one pure step, and the compiled scan over steps."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int, Key, UInt32

from nerf_jax.camera_model import pixel_offset
from nerf_jax.cameras import cast_rays
from nerf_jax.compositing import pixel_over, to_float
from nerf_jax.devices import RAYS, REPLICATED, SPLIT, replicate, split_evenly
from nerf_jax.losses import masked_mean, squared_error
from nerf_jax.render import rays_renderer
from nerf_jax.types import Aux, Batch, Dataset, Metrics, Model, Params, Rays


class TrainState(NamedTuple):
    """All state of training."""

    step: Int[Array, ""]
    """Steps done. The key of step ``i`` is ``fold_in(key, i)``, so that a resumed run is exact."""
    params: Params
    aux: Aux
    opt_state: Any
    key: Key[Array, ""]


TrainSteps = Callable[..., tuple[TrainState, Metrics]]
"""``(state, dataset, horizon) -> (state, metrics)``: see :func:`make_train_steps`."""


def init_state(
    model: Model,
    optimizer: optax.GradientTransformation,
    dataset: Dataset,
    mesh: Mesh,
    *,
    seed: int = 0,
) -> TrainState:
    """The state before the first step, on all devices of the mesh.

    Args:
        model: the method.
        optimizer: what updates its parameters.
        dataset: to learn from; the pixels themselves are not read.
        mesh: the devices.
        seed: for the parameters and for all steps.

    Raises:
        ValueError: the method does not suit these cameras.
    """
    init_key, train_key = jax.random.split(jax.random.key(seed))
    params, aux = model.init(init_key, dataset.cameras, dataset.size_hw)
    state = TrainState(jnp.int32(0), params, aux, optimizer.init(params), train_key)
    return replicate(state, NamedSharding(mesh, REPLICATED))


def sample_ray(dataset: Dataset, key: Array) -> Batch:
    """A random ray of all pixels of all images, with its pixel and known depth."""
    index = image, row, column = tuple(_random_index(key, dataset.pixels.shape[:3]))
    pixel = jnp.asarray(to_float(jnp.asarray(dataset.pixels)[index]))
    mask = jnp.float32(1)
    if dataset.mask is not None:
        mask = jnp.asarray(dataset.mask)[index].astype(jnp.float32)
    if dataset.bands is not None:
        row = row + jnp.asarray(dataset.bands.row)[image]
        image = jnp.asarray(dataset.bands.image)[image]
    at = jnp.stack([column, row])
    rays = cast_rays(dataset.cameras, image, at)
    offset = pixel_offset(dataset.cameras, image, at, dataset.size_hw)
    depth = jnp.float32(0)
    if dataset.depth is not None:
        depth = jnp.asarray(dataset.depth)[index]
        # A depth beyond the ray's ends could never be reached.
        depth = jnp.where((rays.near < depth) & (depth < rays.far), depth, 0.0)
    return Batch(rays, pixel, mask, depth, offset)


def _random_index(key: Array, sizes: tuple[int, ...]) -> Int[Array, "3"]:
    """A random index along each of three axes, of at most 2^31 each.

    The high words of products of a size with a uniform fraction of 64 bits: a float's 23 bits would
    never reach most of a long axis, and one flat index could exceed 32 bits. The fractions have
    their low word in common, which only decides between neighbours, once in ``2^32 / size``.
    """
    *high, low = jax.random.bits(key, (4,))
    n = jnp.array(sizes, jnp.uint32)
    carry, kept = _multiply(jnp.stack(high), n)
    overflow = kept + _multiply(low, n)[0] < kept
    return (carry + overflow).astype(jnp.int32)


def _multiply(x: UInt32[Array, "*#n"], y: UInt32[Array, "*#n"]) -> tuple[Array, Array]:
    """The product of words of 32 bits as two words, the high one first."""
    a, b = x >> 16, x & 0xFFFF
    c, d = y >> 16, y & 0xFFFF
    middle = a * d + (b * d >> 16)  # no sum here exceeds 32 bits
    lower = b * c + (middle & 0xFFFF)
    return a * c + (middle >> 16) + (lower >> 16), x * y


def fold_in_each(key: Array, indices: Array) -> Array:
    """A key for each index, independent of the other indices."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def make_train_steps(
    model: Model,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    rays_per_step: int,
    num_steps: int,
    num_passes: int = 1,
) -> TrainSteps:
    """A compiled function that takes ``num_steps`` steps of gradient descent.

    Every ray has its own key: the number of devices changes only the order of a sum.

    Args:
        model: the method.
        optimizer: what updates the parameters, such as Adam.
        mesh: the devices; each takes an equal share of the rays.
        rays_per_step: of all devices together.
        num_steps: the length of the scan.
        num_passes: parts of a step's rays whose gradients are averaged: the same step, to
            rounding, in less memory.

    Returns:
        ``(state, dataset, horizon) -> (state, metrics)``; the given state is donated, and the
        metrics are stacked over the steps. The horizon is the number of steps of all training,
        as far as it is known, for schedules that follow the progress; infinite if it is not given.
    """
    share = split_evenly(rays_per_step, mesh, "train.rays_per_step")
    if share % num_passes:
        raise ValueError(f"{num_passes} passes cannot share {share} rays of a device evenly")
    size = share // num_passes
    # The mean over devices and passes is taken of both; a sum has that many terms.
    num_terms = rays_per_step // size if model.reduction == "sum" else 1

    def share_loss(
        params: Params, aux: Aux, key: Array, dataset: Dataset, progress: Array, index: Array
    ) -> tuple[Array, Metrics]:
        # What varies over devices has gradients summed over them: of one alone, a copy of them all.
        device = jax.lax.axis_index(RAYS) if mesh.size > 1 else 0
        ray = (device * num_passes + index) * size + jnp.arange(size)
        keys = jax.vmap(jax.random.split)(fold_in_each(key, ray))
        batch = jax.vmap(sample_ray, (None, 0))(dataset, keys[:, 0])._replace(progress=progress)
        loss, metrics = jax.lax.pmean(model.loss(params, aux, keys[:, 1], batch), RAYS)
        return num_terms * loss, metrics

    optimize = optax.with_extra_args_support(optimizer)
    loss = jax.shard_map(share_loss, mesh=mesh, in_specs=REPLICATED, out_specs=REPLICATED)

    def mean_gradient(*arguments: Any) -> tuple[Params, Metrics]:
        gradient_of = functools.partial(jax.grad(loss, has_aux=True), *arguments)

        def add(total: Any, index: Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradient_of(index)), None

        total = gradient_of(jnp.int32(0))
        if num_passes > 1:
            total, _ = jax.lax.scan(add, total, jnp.arange(1, num_passes))
        return jax.tree.map(lambda leaf: leaf / num_passes, total)

    def step(state: TrainState, dataset: Dataset, horizon: Array) -> tuple[TrainState, Metrics]:
        refresh_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        aux = model.refresh(state.params, state.aux, refresh_key, state.step)
        progress = jnp.minimum(state.step / horizon, 1.0)
        gradient, metrics = mean_gradient(state.params, aux, loss_key, dataset, progress)
        updates, opt_state = optimize.update(
            gradient, state.opt_state, state.params, progress=progress
        )
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, aux, opt_state, state.key), metrics

    def steps(
        state: TrainState, dataset: Dataset, horizon: Array | float = np.inf
    ) -> tuple[TrainState, Metrics]:
        end = jnp.float32(horizon)
        return jax.lax.scan(lambda state, _: step(state, dataset, end), state, length=num_steps)

    return jax.jit(steps, donate_argnums=0)


def make_validation(
    model: Model, mesh: Mesh, num_rays: int, background: Float[Array, "3"]
) -> Callable[[Params, Aux, Dataset], Array]:
    """A function that returns the mean squared error of held-out rays.

    The rays are the same in every call, sampled over all pixels of all images, and rendered by the
    program that renders images in chunks of as many.
    """
    share = split_evenly(num_rays, mesh, "train.validation_rays")
    render = rays_renderer(model.render, mesh)

    def draw_share(dataset: Dataset) -> tuple[Rays, Array, Array]:
        ray = jax.lax.axis_index(RAYS) * share + jnp.arange(share)
        batch = jax.vmap(sample_ray, (None, 0))(dataset, fold_in_each(jax.random.key(0), ray))
        rays = batch.rays._replace(appearance=jnp.full_like(batch.rays.appearance, -1))
        return rays, pixel_over(batch.pixel, background), batch.mask

    draw = jax.jit(jax.shard_map(draw_share, mesh=mesh, in_specs=REPLICATED, out_specs=SPLIT))
    error = jax.jit(lambda rgb, pixel, mask: masked_mean(squared_error(rgb, pixel), mask))

    def validate(params: Params, aux: Aux, dataset: Dataset) -> Array:
        rays, pixel, mask = draw(dataset)
        return error(render(params, aux, rays).rgb, pixel, mask)

    return validate
