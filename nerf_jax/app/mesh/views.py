"""What the training cameras see of a learned scene: depths to fuse, and coloured points."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from nerf_jax.app.images import to_uint8
from nerf_jax.app.trained import Trained
from nerf_jax.cameras import cast_rays, resize
from nerf_jax.compositing import solid
from nerf_jax.types import Cameras

_SOLID, _EMPTY = 0.5, 0.1
"""Opacities: from the first on something is hit, up to the second nothing is."""


class Views(NamedTuple):
    """N views, by pinholes."""

    cameras: Cameras
    depth: Float[np.ndarray, "N H W"]
    """Distances along the rays; inf where nothing is hit, NaN where that is not clear."""
    rgb: UInt8[np.ndarray, "N H W 3"]
    """Of what is hit, without the background."""


def look(scene: Trained, scale: float, max_views: int, tell: Callable[[int, int], None]) -> Views:
    """The scene as the training cameras see it.

    Without their lenses: what a lens bends is where in a photo things are, not what there is, and
    places are found in a pinhole's image without iterating.

    Args:
        scene: one whose cameras are known.
        scale: the views' size in that of the photos.
        max_views: how many cameras look at most, evenly chosen.
        tell: called with the views done, and all of them.
    """
    height, width = (max(1, round(side * scale)) for side in scene.size_hw)
    given = resize(scene.cameras()._replace(lens=None), height / scene.size_hw[0])
    every = max(1.0, len(given.near) / max_views)
    chosen = np.arange(0, len(given.near), every).astype(int)
    cameras: Cameras = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], given)
    behind = np.asarray(solid(scene.config.data.background))
    depths, colors = [], []
    for number in range(len(cameras.near)):
        seen = scene.render(cameras, number, (height, width))
        hit = np.where(seen.opacity > _SOLID, seen.median_depth, np.nan)
        depths.append(np.where(seen.opacity < _EMPTY, np.inf, hit).astype(np.float32))
        rgb = own_color(np.asarray(seen.rgb), np.asarray(seen.opacity), behind)
        colors.append(to_uint8(rgb))
        tell(number + 1, len(cameras.near))
    return Views(cameras, np.stack(depths), np.stack(colors))


def own_color(
    rgb: Float[np.ndarray, "*n 3"], opacity: Float[np.ndarray, "*n"], behind: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*n 3"]:
    """The colour of what is seen, without what shows through it, in [0, 1]: the inverse of
    :func:`nerf_jax.compositing.over`.
    """
    opacity = opacity[..., None]
    # What is as good as transparent has no colour to be found.
    return np.clip((rgb - (1.0 - opacity) * behind) / np.maximum(opacity, 1e-3), 0.0, 1.0)


class Sight(NamedTuple):
    """A place as a view has it."""

    distance: Float[Array, ""]
    """From the camera."""
    seen: Float[Array, ""]
    """The distance of what the view shows there; of anything where it shows nothing of it."""
    inside: Bool[Array, ""]
    """Whether the place is within the image and the camera's bounds."""


def sight(camera: Cameras, depth: Float[Array, "H W"], position: Float[Array, "3"]) -> Sight:
    """Look a place up in one view: its nearest pixel, as between two there may be two surfaces.

    Args:
        camera: one pinhole, without a leading axis.
        depth: the view's distances.
        position: the place.
    """
    height, width = depth.shape
    rotation, origin = camera.world_from_camera[:, :3], camera.world_from_camera[:, 3]
    distance = jnp.linalg.norm(position - origin)
    x, y, z = (position - origin) @ rotation
    ahead = z < 0
    # What is not ahead is nowhere in the image, and looked up all the same.
    across = jnp.stack([x, -y]) / jnp.where(ahead, -z, 1.0)
    place = camera.focal * across + camera.principal
    inside = ahead & (place >= 0).all() & (place[0] < width) & (place[1] < height)
    inside &= (distance > camera.near) & (distance < camera.far)
    column, row = jnp.clip(place, 0, jnp.array([width - 1, height - 1])).astype(int)
    return Sight(distance, depth[row, column], inside)


def points(views: Views) -> tuple[Float[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Where the views' rays hit something, and the colours there."""
    _, height, width = views.depth.shape
    rows, columns = np.indices((height, width)).reshape(2, -1)
    pixels = np.stack([columns, rows], axis=1)
    cast = jax.jit(jax.vmap(cast_rays, (None, None, 0)))
    places, colors = [], []
    for number, (depth, rgb) in enumerate(zip(views.depth, views.rgb, strict=True)):
        rays = jax.device_get(cast(views.cameras, number, pixels))
        far = depth.reshape(-1)
        hit = np.isfinite(far)
        places.append(rays.origin[hit] + far[hit, None] * rays.direction[hit])
        colors.append(rgb.reshape(-1, 3)[hit])
    return np.concatenate(places), np.concatenate(colors)


def pixel_width(views: Views, height: int) -> float:
    """What a pixel of an image covers of the surfaces seen, as a rule: world units.

    Args:
        views: at least one of which sees something.
        height: of the image, in pixels, if it shows the same as the views.
    """
    across = views.depth / np.asarray(views.cameras.focal).mean(axis=1)[:, None, None]
    return float(np.median(across[np.isfinite(across)])) * views.depth.shape[1] / height
