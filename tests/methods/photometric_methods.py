"""The methods that read the field at every sample, small, and scenes of which they are tested."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.config import Config, DataConfig, MipConfig, NerfConfig, TutorialConfig
from nerf_jax.types import Batch, Params, Rays
from tests import closed_forms
from tests.closed_forms import FAR, NEAR

CONFIGS = {
    "tutorial": TutorialConfig(num_samples=24, width=16, position_bands=3, direction_bands=2),
    "nerf": NerfConfig(
        num_coarse=12, num_fine=10, depth=3, width=16, skip=1, position_bands=3, direction_bands=2
    ),
    "mip": MipConfig(
        num_samples=12, depth=3, width=16, skip=1, position_bands=5, direction_bands=2
    ),
}
RADIUS = 0.02
NETWORKS = {"tutorial": 1, "nerf": 2, "mip": 1}
every = pytest.mark.parametrize("method", CONFIGS)


def init(model):
    """``key -> (params, aux)``: these methods are not fitted to cameras."""
    return functools.partial(model.init, cameras=None, size_hw=(16, 16))


@functools.cache
def build(method: str, background: str = "white"):
    return methods.build(Config(model=CONFIGS[method], data=DataConfig(background=background)))


@functools.cache
def render(method: str, background: str = "white"):
    return jax.jit(build(method, background).render)


@functools.cache
def loss(method: str, background: str = "white"):
    """``(params, aux, keys, batch) -> (loss, metrics)``"""
    if background == "white":  # compiled anyway
        return lambda *given: gradient(method)(*given)[0]
    return jax.jit(build(method, background).loss)


@functools.cache
def gradient(method: str):
    """``(params, aux, keys, batch) -> ((loss, metrics), gradient)``"""
    return jax.jit(jax.value_and_grad(build(method).loss, has_aux=True))


@functools.cache
def shapes(method: str) -> Params:
    params, aux = jax.eval_shape(init(build(method)), jax.random.key(0))
    assert aux == ()
    return params


def random_params(method: str) -> Params:
    """Of a scene with clear and dense places, so that what is behind shows through."""
    return closed_forms.random_params(shapes(method), seed=5)


def networks(method: str, params: Params) -> list:
    return [params["coarse"], params["fine"]] if method == "nerf" else [params]


def uniform_params(method: str, density: float, *rgbs) -> Params:
    """A scene of one density and one colour everywhere: weights zero, biases as they must be.

    Args:
        method: one network, or a coarse and a fine one.
        density: per world unit; below zero for an empty scene.
        rgbs: of each network in turn.
    """
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes(method))
    for network, rgb in zip(networks(method, params), rgbs, strict=True):
        pad = CONFIGS[method].color_padding if method == "mip" else 0.0
        shade = (np.array(rgb) + pad) / (1 + 2 * pad)
        layers, logit = network["params"], np.log(shade) - np.log1p(-shade)
        if method == "tutorial":
            layers["to_features"]["Dense_0"]["bias"][-1] = density
            layers["block4"]["Dense_0"]["bias"][:] = logit
        else:
            raw = before_softplus(density) if method == "mip" else density
            layers["to_density"]["bias"][:] = raw
            layers["to_rgb"]["bias"][:] = logit
    return params


def before_softplus(density: float) -> float:
    """What mip-NeRF's ``softplus(raw - 1)`` makes a density of; none below zero, as of a ReLU."""
    if density <= 0:
        return -200.0
    return 1 + (density if density > 30 else np.log(np.expm1(density)))


def rays(count: int = 6, seed: int = 0) -> Rays:
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = -4 * directions + 0.3 * rng.normal(size=(count, 3))
    return Rays(
        jnp.asarray(origins, jnp.float32),
        jnp.asarray(directions, jnp.float32),
        jnp.full(count, NEAR, jnp.float32),
        jnp.full(count, FAR, jnp.float32),
        jnp.full(count, RADIUS, jnp.float32),
        jnp.zeros(count, jnp.int32),
    )


def batch(rgb, alpha: float = 1.0, seed: int = 0) -> Batch:
    """Six rays that the photos show in one colour."""
    pixel = jnp.asarray([*rgb, alpha], jnp.float32)
    return Batch(rays(seed=seed), jnp.tile(pixel, (6, 1)), jnp.ones(6), jnp.zeros(6))


def keys(seed: int = 0, count: int = 6) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def check_gradient(loss_and_gradient, params: Params, name: str, step: float = 2e-3) -> None:
    """Along itself, where the difference is largest beside the rounding of single precision."""
    slopes = jax.tree.map(np.asarray, loss_and_gradient(params)[1])
    length = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(slopes)))
    assert length > 0.01
    around = []
    for sign in (1, -1):
        moved = jax.tree.map(
            lambda leaf, slope, s=sign: leaf + s * step / length * slope, params, slopes
        )
        value, metrics = loss_and_gradient(moved)[0]
        around.append(value if name == "loss" else metrics[name])
    after, before = around
    np.testing.assert_allclose((after - before) / (2 * step), length, rtol=0.02)


def awkward(kind: str, count: int = 6) -> Rays:
    """Rays that are hard on arithmetic."""
    usual = rays(count)
    return {
        "usual": usual,
        "no width": usual._replace(radius=jnp.zeros(count)),
        "no length": usual._replace(far=usual.near),
        "from the origin": usual._replace(origin=jnp.zeros((count, 3)), near=jnp.zeros(count)),
        "far out": usual._replace(origin=usual.origin * 1e4),
    }[kind]
