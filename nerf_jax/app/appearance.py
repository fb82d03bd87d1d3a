"""Appearance codes of photos that were not learned from: fitted on one half, judged on the other.

A held-out photo has an exposure of its own as well, and no code for it. As is customary (NeRF in
the Wild, Martin-Brualla et al., 2021, Section 5), one is fitted on the left half of the photo, the
scene standing still, and the right half is scored with it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from nerf_jax.train import sample_ray
from nerf_jax.types import Aux, Dataset, HostArray, Model, Params

NUM_STEPS = 50
"""Steps of a fit: on the fox, twice as many change the PSNR of either half by less than 0.05 dB."""

NUM_RAYS = 1024
"""Drawn at each step, from the whole photo: half of them count. Twice as many change nothing."""


def codes(params: Params) -> Float[Array, "N C"] | None:
    """The codes of the training photos, wherever a method keeps them; None: it has none."""
    leaves = jax.tree.leaves_with_path(params)
    return next((leaf for path, leaf in leaves if _are_codes(path)), None)


def with_code(params: Params, code: Float[Array, " C"]) -> Params:
    """The parameters with one code for all photos, which then is that of a view of none too."""
    return jax.tree.map_with_path(
        lambda path, leaf: jnp.broadcast_to(code, leaf.shape) if _are_codes(path) else leaf, params
    )


def _are_codes(path: tuple) -> bool:
    return path[-1:] == (jax.tree_util.DictKey("codes"),)


@functools.partial(jax.jit, static_argnames=("model", "num_steps", "num_rays", "learning_rate"))
def fit_code(
    model: Model,
    params: Params,
    aux: Aux,
    photo: Dataset,
    key: Array,
    *,
    num_steps: int = NUM_STEPS,
    num_rays: int = NUM_RAYS,
    learning_rate: float = 0.1,
) -> Params:
    """Find the code with which a trained scene looks most like a photo. Nothing else changes.

    Adam on the method's own loss, from the mean code on, its learning rate falling along a cosine
    to nothing. Compiled once for all photos of a size.

    Args:
        model, params, aux: trained.
        photo: one; what its mask hides is not looked at.
        key: of the rays.

    Returns:
        The parameters with the photo's code: the views that they render are of this photo.

    Raises:
        ValueError: the method has no codes.
    """
    learned = codes(params)
    if learned is None:
        raise ValueError("the model has no appearance codes to fit: model.code_size is 0")
    # So few steps leave no time for the usual averages over the last ten and the last thousand.
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
    optimizer = optax.adam(schedule, b1=0.5, b2=0.9)

    def step(state: tuple[Array, optax.OptState], key: Array) -> tuple[tuple, None]:
        code, opt_state = state
        keys = jax.random.split(key, (num_rays, 2))
        batch = jax.vmap(sample_ray, (None, 0))(photo, keys[:, 0])
        of_none = jnp.full_like(batch.rays.appearance, -1)
        batch = batch._replace(rays=batch.rays._replace(appearance=of_none))

        def loss(code: Array) -> Array:
            return model.loss(with_code(params, code), aux, keys[:, 1], batch)[0]

        updates, opt_state = optimizer.update(jax.grad(loss)(code), opt_state)
        return (optax.apply_updates(code, updates), opt_state), None

    mean = jnp.mean(learned, axis=0)
    (code, _), _ = jax.lax.scan(
        step, (mean, optimizer.init(mean)), jax.random.split(key, num_steps)
    )
    return with_code(params, code)


def counted(dataset: Dataset, index: int) -> Bool[np.ndarray, "H W"]:
    """The pixels of a photo that count."""
    if dataset.mask is None:
        return np.ones(dataset.pixels.shape[1:3], bool)
    return np.asarray(dataset.mask[index])


def middle_column(counts: Bool[HostArray, "H W"]) -> int:
    """Where the right half of a photo begins: halfway between the columns that count, as the
    margin of a smaller photo is no half of it.
    """
    columns = np.flatnonzero(np.any(counts, axis=0))
    return int(columns[0] + columns[-1] + 1) // 2 if columns.size else counts.shape[1] // 2


def left_half(dataset: Dataset, index: int) -> Dataset:
    """One photo, of which the left half alone counts."""
    one: Dataset = jax.tree.map(lambda leaf: leaf[index : index + 1], dataset)
    counts = counted(dataset, index)
    left = np.arange(counts.shape[1]) < middle_column(counts)
    return one._replace(mask=(counts & left)[None])
