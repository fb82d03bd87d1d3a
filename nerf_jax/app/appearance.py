"""Appearance codes of held-out photos: fitted on the left half, scored on the right half.

A held-out photo has its own exposure, but no code. As in NeRF in the Wild (Martin-Brualla et al.,
2021, Section 5), a code is fitted on the left half of the photo with the scene fixed, and the right
half is scored with it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool

from nerf_jax.data.memory import read_rows
from nerf_jax.fields import appearance_codes, with_appearance_code
from nerf_jax.train import sample_ray
from nerf_jax.types import Aux, Dataset, HostArray, Model, Params

NUM_STEPS = 50
"""On the fox, twice as many steps change the PSNR of either half by less than 0.05 dB."""

NUM_RAYS = 1024
"""Sampled at each step from the whole photo: half of them count. Twice as many change nothing."""


@functools.partial(jax.jit, static_argnames=("model", "num_rays"))
def fit_code(
    model: Model, params: Params, aux: Aux, photo: Dataset, key: Array, *, num_rays: int = NUM_RAYS
) -> Params:
    """Fit the appearance code of one photo to a trained scene, whose other parameters are fixed.

    Adam on the method's own loss, from the mean code on, with a learning rate that falls to zero
    along a cosine. Compiled once for all photos of a size.

    Args:
        model, params, aux: trained.
        photo: one photo; the pixels that its mask hides are ignored.
        key: samples the rays.

    Returns:
        The parameters with the photo's code: they render all views with its appearance.

    Raises:
        ValueError: the method has no codes.
    """
    learned = appearance_codes(params)
    if learned is None:
        raise ValueError("the model has no appearance codes to fit: model.code_size is 0")
    # Fifty steps are too few for the usual averages over the last ten and the last thousand steps.
    schedule = optax.cosine_decay_schedule(0.1, NUM_STEPS)
    optimizer = optax.adam(schedule, b1=0.5, b2=0.9)

    def step(state: tuple[Array, optax.OptState], key: Array) -> tuple[tuple, None]:
        code, opt_state = state
        keys = jax.random.split(key, (num_rays, 2))
        batch = jax.vmap(sample_ray, (None, 0))(photo, keys[:, 0])
        of_none = jnp.full_like(batch.rays.appearance, -1)
        batch = batch._replace(rays=batch.rays._replace(appearance=of_none))

        def loss(code: Array) -> Array:
            return model.loss(with_appearance_code(params, code), aux, keys[:, 1], batch)[0]

        updates, opt_state = optimizer.update(jax.grad(loss)(code), opt_state)
        return (optax.apply_updates(code, updates), opt_state), None

    mean = jnp.mean(learned, axis=0)
    (code, _), _ = jax.lax.scan(
        step, (mean, optimizer.init(mean)), jax.random.split(key, NUM_STEPS)
    )
    return with_appearance_code(params, code)


def valid_pixels(dataset: Dataset, index: int) -> Bool[np.ndarray, "H W"]:
    """The pixels of a photo that its mask does not hide."""
    if dataset.mask is None:
        return np.ones(dataset.size_hw, bool)
    return read_rows(dataset.mask, index)


def middle_column(valid: Bool[HostArray, "H W"]) -> int:
    """The first column of a photo's right half: halfway between the outermost valid columns.

    The margin of a smaller photo belongs to neither half.
    """
    columns = np.flatnonzero(np.any(valid, axis=0))
    return int(columns[0] + columns[-1] + 1) // 2 if columns.size else valid.shape[1] // 2


def left_half(dataset: Dataset, index: int) -> Dataset:
    """A dataset of one photo, whose mask hides the right half."""
    one: Dataset = jax.tree.map(lambda leaf: leaf[index : index + 1], dataset)
    valid = valid_pixels(dataset, index)
    left = np.arange(valid.shape[1]) < middle_column(valid)
    return one._replace(mask=(valid & left)[None])
