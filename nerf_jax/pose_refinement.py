"""Camera poses learned along with the scene: a small motion of each photo's camera.

What was estimated from photos is a little off, and what is a little off is blurred. Each training
photo's rays are turned and moved by a motion that starts at rest and is trained as everything
else. A method knows nothing of it: it is given rays.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax.numerics import safe_norm
from nerf_jax.types import Aux, Batch, Cameras, Metrics, Model, Params, Rays, RayTable


def refine_poses(model: Model) -> Model:
    """The method, with the cameras of the training photos to be learned as well.

    Its parameters are ``{"scene": ..., "poses": [N, 6]}``. Views, and rays of no training photo,
    are seen from the cameras as they are given: the motions of all photos together are kept at
    rest, so that the scene stays where the held-out cameras expect it.
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
    """The motions, less what all of them have in common."""
    return motions - jnp.mean(motions, axis=0, keepdims=True)


def move(motion: Float[Array, "6"], ray: Rays) -> Rays:
    """A ray whose camera is turned about its own place, and then moved.

    Args:
        motion: a rotation vector in radians and a translation in world units, in world axes.
        ray: as the camera was.
    """
    return ray._replace(direction=rotate(motion[:3], ray.direction), origin=ray.origin + motion[3:])


def refined_cameras(motions: Float[Array, "N 6"], cameras: Cameras) -> Cameras:
    """Cameras where their photos were learned to have been taken, as NumPy arrays.

    Args:
        motions: the trained parameters ``poses``.
        cameras: the training cameras as they were given, N of them.
    """
    given = jnp.asarray(cameras.world_from_camera)
    turned = jax.vmap(jax.vmap(rotate, (None, 1), 1))(centered(motions)[:, :3], given[:, :, :3])
    places = given[:, :, 3:] + centered(motions)[:, 3:, None]
    poses = np.asarray(jnp.concatenate([turned, places], axis=2))
    return cameras._replace(world_from_camera=poses)


def rotate(turn: Float[Array, "3"], x: Float[Array, "3"]) -> Float[Array, "3"]:
    """A vector turned about an axis (Rodrigues, 1840).

    Args:
        turn: the axis, times the angle in radians.
        x: the vector.
    """
    angle = safe_norm(turn)
    # Both factors are entire functions of the angle; near zero by their series, for the gradient.
    small = angle < 1e-3
    safe = jnp.where(small, 1.0, angle)
    sine = jnp.where(small, 1 - angle**2 / 6, jnp.sin(safe) / safe)
    versine = jnp.where(small, 0.5 - angle**2 / 24, (1 - jnp.cos(safe)) / safe**2)
    once = jnp.cross(turn, x)
    return x + sine * once + versine * jnp.cross(turn, once)
