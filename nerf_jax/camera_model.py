"""A photometric camera model: how a photo's colours differ from the scene's.

A photo has an exposure and a white balance; the camera of all photos has vignetting and a response
(a simple image signal processor, in place of the codes of NeRF in the Wild). All are
zero for the identity. Colours are sRGB, where a factor of the light is a factor too if the camera's
curve is a power law (about 1 / 2.2); what deviates from it is the response.

The parameters are ``{"exposure": [N], "balance": [N, 3], "vignetting": [2], "response": [3]}``.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nerf_jax.types import Cameras, HostArray, Params, RayTable

MAX_EXPOSURE, MAX_BALANCE, MAX_VIGNETTING, MAX_RESPONSE = 1.0, 0.3, 0.5, 0.5
"""Bounds of logarithms of factors: of a photo (three stops), of a channel, and of each of two terms
at the corner; and of the response's bend, which leaves it rising up to 1."""

_RATE = 0.1
"""Relative to other parameters, as Adam's steps have one size: a photo has few rays in a step."""

_NUM_NEIGHBOURS = 4


def init(num_photos: int, log_exposure: Float[HostArray, " N"] | None = None) -> Params:
    """The identity, or the given exposures.

    Args:
        num_photos: of the training split.
        log_exposure: natural logarithm of the light that each photo collects, such as by
            :func:`nerf_jax.data.images.log_exposure`; nan where unknown, which is then their mean.
    """
    exposure = np.zeros(num_photos)
    if log_exposure is not None and np.isfinite(log_exposure).any():
        given = np.asarray(log_exposure, float) / 2.2
        relative = np.nan_to_num(given - np.nanmean(given)) / MAX_EXPOSURE
        exposure = np.arctanh(np.clip(relative, -0.95, 0.95)) * MAX_EXPOSURE / _RATE
    return {
        "exposure": jnp.asarray(exposure, jnp.float32),
        "balance": jnp.zeros((num_photos, 3)),
        "vignetting": jnp.zeros(2),
        "response": jnp.zeros(3),
    }


def of(params: Params) -> Params | None:
    """The camera model's parameters in those of a method, maybe beside poses; None without one."""
    found: Params | None = params.get("scene", params).get("camera_model")
    return found


def log_gains(params: Params) -> Float[Array, "N 3"]:
    """Logarithms of the factors of each photo's channels.

    Bounded, and then centred: their mean over the photos is zero, so that the scene's own colours
    cannot drift. A white balance does not change the mean of the channels' logarithms.
    """
    exposure = _bounded(params["exposure"], MAX_EXPOSURE)[:, None]
    balance = _bounded(params["balance"], MAX_BALANCE)
    gains = exposure + balance - jnp.mean(balance, axis=1, keepdims=True)
    return gains - jnp.mean(gains, axis=0, keepdims=True)


def apply(
    params: Params, log_gain: Float[Array, "3"], offset: Float[Array, "2"], rgb: Float[Array, "3"]
) -> Float[Array, "3"]:
    """A colour of the scene as a photo shows it.

    Args:
        params: of the camera.
        log_gain: of the photo, a row of :func:`log_gains`, or zero.
        offset: of the pixel, by :func:`pixel_offset`.
        rgb: sRGB, over what is behind.
    """
    near, far = _bounded(params["vignetting"], MAX_VIGNETTING)
    square = jnp.sum(offset**2)
    exposed = rgb * jnp.exp(log_gain + near * square + far * square**2)
    bend = _bounded(params["response"], MAX_RESPONSE)
    return exposed + bend * exposed * jnp.maximum(1 - exposed, 0.0)  # none at 0 and beyond 1


def pixel_offset(
    cameras: Cameras | RayTable,
    image: int | Int[HostArray, ""],
    pixel: Int[HostArray, "2"],
    size_hw: tuple[int, int],
) -> Float[Array, "2"]:
    """The position of a pixel from the principal point, x and y.

    The unit is the distance from there to the image's upper left corner: half a diagonal if the
    principal point is at the centre.
    """
    center = jnp.array(size_hw[::-1]) / 2
    if isinstance(cameras, Cameras):  # whose images may be bands of photos
        center = jnp.asarray(cameras.principal)[image]
    return (pixel + 0.5 - center) / jnp.linalg.norm(center)


def regularizer(params: Params) -> Float[Array, ""]:
    """The distance from the identity: the sum of the mean squares of all logarithms and bends."""
    vignetting = _bounded(params["vignetting"], MAX_VIGNETTING)
    response = _bounded(params["response"], MAX_RESPONSE)
    shared = jnp.mean(vignetting**2) + jnp.mean(response**2)
    return jnp.mean(log_gains(params) ** 2) + shared


def predict_log_gain(
    gains: Float[np.ndarray, "N 3"], cameras: Cameras, pose: Float[np.ndarray, "3 4"]
) -> Float[np.ndarray, "3"]:
    """The gains expected of a new view: those of the nearest training cameras, by pose alone.

    Their weights are inverse squared distances (Shepard, 1968), where the cameras' standard
    deviation counts as much as a rotation by a radian.

    Args:
        gains: of the N training photos.
        cameras: theirs.
        pose: world from camera, of the new view.
    """
    poses = np.asarray(cameras.world_from_camera, float)
    spread = max(float(np.sqrt(np.mean(np.var(poses[:, :, 3], axis=0) * 3))), 1e-9)
    apart = (poses - pose) / np.array([2**0.5] * 3 + [spread])
    square = np.sum(apart**2, axis=(1, 2))
    nearest = np.argsort(square)[:_NUM_NEIGHBOURS]
    weights = 1 / (square[nearest] + 1e-9)
    return weights @ np.asarray(gains, float)[nearest] / np.sum(weights)


def gains_at_exposure(
    gains: Float[np.ndarray, "N 3"], log_exposure: Float[np.ndarray, " N"], new: float
) -> Float[np.ndarray, "N 3"]:
    """The training photos' gains, had each been taken with the exposure of a new view.

    They follow the line, fitted by least squares, of the photos' mean gains over their exposures.
    It rises by between 0 and 1 / 2.2, as a camera exposes long where there is little light.

    Args:
        gains: of the N training photos.
        log_exposure: theirs, as for :func:`init`; the gains are returned if one is nan.
        new: that of the new view, or nan.
    """
    off = log_exposure - np.mean(log_exposure)
    if not (np.isfinite([*off, new]).all() and np.ptp(off) > 1e-6):
        return gains
    slope = np.clip(off @ np.mean(gains, axis=1) / (off @ off), 0, 1 / 2.2)
    return gains + slope * (new - log_exposure)[:, None]


def _bounded(raw: Float[Array, "*n"], bound: float) -> Float[Array, "*n"]:
    """Between ``-bound`` and ``bound``; zero at zero."""
    return bound * jnp.tanh(_RATE / bound * raw)


def apply_image(
    params: Params,
    log_gain: Float[HostArray, "3"],
    cameras: Cameras | RayTable,
    image: int,
    rgb: Float[HostArray, "H W 3"],
) -> Float[Array, "H W 3"]:
    """:func:`apply` to all pixels of one image."""
    height, width, _ = rgb.shape
    column, row = jnp.meshgrid(jnp.arange(width), jnp.arange(height))

    def one(column: Array, row: Array, rgb: Array) -> Array:
        offset = pixel_offset(cameras, image, jnp.stack([column, row]), (height, width))
        return apply(params, jnp.asarray(log_gain, jnp.float32), offset, rgb)

    return jax.vmap(jax.vmap(one))(column, row, jnp.asarray(rgb))
