"""Pose refinement: a small rigid motion of each training camera, learned with the scene.

Estimated poses have small errors, which blur the scene. The rays of each training photo are rotated
and translated by a motion that starts at zero. Methods are independent of it: they receive rays.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax.numerics import safe_norm
from nerf_jax.types import Aux, Batch, Cameras, Metrics, Model, Params, Rays, RayTable


def refine_poses(model: Model) -> Model:
    """The model with learned motions of the training cameras.

    Its parameters are ``{"scene": ..., "poses": [N, 6]}``. Rays of no training photo are not moved,
    and the mean motion is subtracted, so that the scene stays in the frame of the held-out cameras.
    """

    def init(
        key: Array, cameras: Cameras | RayTable, size_hw: tuple[int, int]
    ) -> tuple[Params, Aux]:
        params, aux = model.init(key, cameras, size_hw)
        return {"scene": params, "poses": jnp.zeros((len(cameras.near), 6))}, aux

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        photo = batch.rays.appearance
        motions = jnp.where(photo[:, None] < 0, 0.0, centered(params["poses"])[photo])
        batch = batch._replace(rays=jax.vmap(move)(motions, batch.rays))
        return model.loss(params["scene"], aux, keys, batch)

    return model._replace(
        init=init,
        loss=loss,
        refresh=lambda params, aux, key, step: model.refresh(params["scene"], aux, key, step),
        render=lambda params, aux, rays: model.render(params["scene"], aux, rays),
        density=lambda params, aux, points: model.density(params["scene"], aux, points),
        cameras=lambda params, cameras: refined_cameras(
            params["poses"], model.cameras(params["scene"], cameras)
        ),
    )


def centered(motions: Float[Array, "N 6"]) -> Float[Array, "N 6"]:
    """The motions without their mean."""
    return motions - jnp.mean(motions, axis=0, keepdims=True)


def move(motion: Float[Array, "6"], ray: Rays) -> Rays:
    """A ray whose camera is rotated about its own centre and then translated.

    Args:
        motion: a rotation vector in radians and a translation in world units, in world axes.
        ray: before the motion.
    """
    return ray._replace(direction=rotate(motion[:3], ray.direction), origin=ray.origin + motion[3:])


def refined_cameras(motions: Float[Array, "N 6"], cameras: Cameras) -> Cameras:
    """The training cameras with their learned motions, as NumPy arrays.

    Args:
        motions: the trained parameters ``poses``.
        cameras: the given training cameras, N of them.
    """
    given = jnp.asarray(cameras.world_from_camera)
    rotated = jax.vmap(jax.vmap(rotate, (None, 1), 1))(centered(motions)[:, :3], given[:, :, :3])
    origins = given[:, :, 3:] + centered(motions)[:, 3:, None]
    poses = np.asarray(jnp.concatenate([rotated, origins], axis=2))
    return cameras._replace(world_from_camera=poses)


def rotate(rotvec: Float[Array, "3"], x: Float[Array, "3"]) -> Float[Array, "3"]:
    """A vector rotated about an axis (Rodrigues, 1840).

    Args:
        rotvec: the axis, times the angle in radians.
        x: the vector.
    """
    angle = safe_norm(rotvec)
    # Both factors are smooth in the angle; near zero by their series, as the quotients cancel.
    small, square = angle < 0.2, jnp.minimum(angle, 0.2) ** 2
    safe = jnp.where(small, 1.0, angle)
    sine = 1 - square / 6 * (1 - square / 20 * (1 - square / 42))
    sine = jnp.where(small, sine, jnp.sin(safe) / safe)
    versine = 0.5 - square / 24 * (1 - square / 30 * (1 - square / 56))
    versine = jnp.where(small, versine, (1 - jnp.cos(safe)) / safe**2)
    crossed = jnp.cross(rotvec, x)
    return x + sine * crossed + versine * jnp.cross(rotvec, crossed)
