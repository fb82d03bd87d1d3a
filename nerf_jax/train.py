"""Training: a state, one pure step, and the scan over steps that is compiled as a whole."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int, Key

from nerf_jax.cameras import cast_rays
from nerf_jax.compositing import pixel_over, to_float
from nerf_jax.devices import RAYS, REPLICATED, split_evenly
from nerf_jax.losses import masked_mean, squared_error
from nerf_jax.numerics import fold_in_each
from nerf_jax.types import Aux, Batch, Dataset, Metrics, Model, Params


class TrainState(NamedTuple):
    """Everything that training changes, and the key that it never does."""

    step: Int[Array, ""]
    """Steps done. Step ``i`` draws with ``fold_in(key, i)``, so a resumed run repeats itself."""
    params: Params
    aux: Aux
    opt_state: Any
    key: Key[Array, ""]


TrainSteps = Callable[[TrainState, Dataset], tuple[TrainState, Metrics]]


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
    return jax.device_put(state, NamedSharding(mesh, REPLICATED))


def sample_ray(dataset: Dataset, key: Array) -> Batch:
    """One random ray of all pixels of all images, with what is known of it."""
    count, height, width, _ = dataset.pixels.shape
    # Three draws and not one flat index, which could outgrow 32 bits; uniforms and not integers,
    # whose exactness below 2^24 costs three times the hashing.
    sizes = jnp.array([count, height, width])
    u = jax.random.uniform(key, (3,))
    image, row, column = jnp.minimum((u * sizes).astype(jnp.int32), sizes - 1)
    pixel = jnp.asarray(to_float(jnp.asarray(dataset.pixels)[image, row, column]))
    counts = jnp.float32(1)
    if dataset.mask is not None:
        counts = jnp.asarray(dataset.mask)[image, row, column].astype(jnp.float32)
    rays = cast_rays(dataset.cameras, image, jnp.stack([column, row]))
    depth = jnp.float32(0)
    if dataset.depth is not None:
        depth = jnp.asarray(dataset.depth)[image, row, column]
        # What is beyond its ends no ray can reach, however it is pulled.
        depth = jnp.where((rays.near < depth) & (depth < rays.far), depth, 0.0)
    return Batch(rays, pixel, counts, depth)


def make_train_steps(
    model: Model,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    rays_per_step: int,
    num_steps: int,
    num_passes: int = 1,
) -> TrainSteps:
    """A compiled function that takes ``num_steps`` steps of gradient descent.

    Every ray has a key of its own, from which it draws its pixel and its samples: how many
    devices share the rays changes nothing but the order of a sum.

    Args:
        model: the method.
        optimizer: what updates the parameters, such as Adam.
        mesh: the devices; each takes an equal share of the rays.
        rays_per_step: of all devices together.
        num_steps: the length of the scan.
        num_passes: the rays of a step are taken in so many parts, whose gradients are averaged:
            the same step, to rounding, in so much less memory.

    Returns:
        ``(state, dataset) -> (state, metrics)``; the state passed in is donated, and the metrics
        are stacked, one of each a step.
    """
    share = split_evenly(rays_per_step, mesh, "train.rays_per_step")
    if share % num_passes:
        raise ValueError(f"{num_passes} passes cannot share {share} rays of a device evenly")
    size = share // num_passes

    def share_loss(
        params: Params, aux: Aux, key: Array, dataset: Dataset, turn: Array
    ) -> tuple[Array, Metrics]:
        number = (jax.lax.axis_index(RAYS) * num_passes + turn) * size + jnp.arange(size)
        keys = jax.vmap(jax.random.split)(fold_in_each(key, number))
        batch = jax.vmap(sample_ray, (None, 0))(dataset, keys[:, 0])
        return jax.lax.pmean(model.loss(params, aux, keys[:, 1], batch), RAYS)

    loss = jax.shard_map(share_loss, mesh=mesh, in_specs=REPLICATED, out_specs=REPLICATED)

    def mean_gradient(*arguments: Any) -> tuple[Params, Metrics]:
        one = functools.partial(jax.grad(loss, has_aux=True), *arguments)

        def add(total: Any, turn: Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, one(turn)), None

        total = one(jnp.int32(0))
        if num_passes > 1:
            total, _ = jax.lax.scan(add, total, jnp.arange(1, num_passes))
        return jax.tree.map(lambda leaf: leaf / num_passes, total)

    def step(state: TrainState, dataset: Dataset) -> tuple[TrainState, Metrics]:
        refresh_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        aux = model.refresh(state.params, state.aux, refresh_key, state.step)
        gradient, metrics = mean_gradient(state.params, aux, loss_key, dataset)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, aux, opt_state, state.key), metrics

    def steps(state: TrainState, dataset: Dataset) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(lambda state, _: step(state, dataset), state, length=num_steps)

    return jax.jit(steps, donate_argnums=0)


def make_validation(
    model: Model, mesh: Mesh, num_rays: int, background: Float[Array, "3"]
) -> Callable[[Params, Aux, Dataset], Array]:
    """A compiled function that gives the mean squared error on held-out rays.

    The rays are the same at every call: drawn once, over all pixels of all images.
    """
    share = split_evenly(num_rays, mesh, "train.validation_rays")

    def share_error(params: Params, aux: Aux, dataset: Dataset) -> Array:
        number = jax.lax.axis_index(RAYS) * share + jnp.arange(share)
        batch = jax.vmap(sample_ray, (None, 0))(dataset, fold_in_each(jax.random.key(0), number))
        rays = batch.rays._replace(appearance=jnp.full_like(batch.rays.appearance, -1))
        seen = model.render(params, aux, rays).rgb
        error = squared_error(seen, pixel_over(batch.pixel, background))
        return jax.lax.pmean(masked_mean(error, batch.counts), RAYS)

    return jax.jit(jax.shard_map(share_error, mesh=mesh, in_specs=REPLICATED, out_specs=REPLICATED))
