"""Renderings from the training cameras: depths to fuse, and coloured points."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from nerf_jax.app.images import to_uint8
from nerf_jax.app.trained import Trained
from nerf_jax.cameras import cast_image_rays, resize
from nerf_jax.compositing import solid
from nerf_jax.types import Cameras

_OPAQUE, _EMPTY = 0.5, 0.1
"""Opacities: above the first a ray hits a surface, below the second it hits none."""


class Views(NamedTuple):
    """N renderings by pinhole cameras."""

    cameras: Cameras
    depth: Float[np.ndarray, "N H W"]
    """Distance along each ray; inf where it hits nothing, NaN where that is uncertain."""
    rgb: UInt8[np.ndarray, "N H W 3"]
    """Colour of the surface, without the background."""


def render_views(
    scene: Trained, scale: float, max_views: int, on_progress: Callable[[int, int], None]
) -> Views:
    """Render the scene from its training cameras, without their lenses.

    A lens changes which pixel shows a point, not which points are visible; and a point projects
    into a pinhole image in closed form.

    Args:
        scene: must have training cameras.
        scale: size of the views relative to the photos.
        max_views: maximum number of cameras, evenly chosen.
        on_progress: called with the number of views done and their total.
    """
    height, width = (max(1, round(side * scale)) for side in scene.size_hw)
    given = resize(scene.cameras()._replace(lens=None), height / scene.size_hw[0])
    step = max(1.0, len(given.near) / max_views)
    chosen = np.arange(0, len(given.near), step).astype(int)
    cameras: Cameras = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], given)
    background = np.asarray(solid(scene.config.data.background))
    depths, colors = [], []
    for index in range(len(chosen)):
        rendering = scene.render(cameras, index, (height, width))
        hit = np.where(rendering.opacity > _OPAQUE, rendering.median_depth, np.nan)
        depths.append(np.where(rendering.opacity < _EMPTY, np.inf, hit).astype(np.float32))
        rgb, opacity = np.asarray(rendering.rgb), np.asarray(rendering.opacity)
        colors.append(to_uint8(foreground_color(rgb, opacity, background)))
        on_progress(index + 1, len(chosen))
    return Views(cameras, np.stack(depths), np.stack(colors))


def foreground_color(
    rgb: Float[np.ndarray, "*n 3"],
    opacity: Float[np.ndarray, "*n"],
    background: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "*n 3"]:
    """The colour in [0, 1] that gives ``rgb`` over ``background``: the inverse of
    :func:`nerf_jax.compositing.over`.
    """
    opacity = opacity[..., None]
    # The bound: an almost transparent foreground has no colour that could be recovered.
    return np.clip((rgb - (1.0 - opacity) * background) / np.maximum(opacity, 1e-3), 0.0, 1.0)


class DepthSample(NamedTuple):
    """A position compared with the depth of one view."""

    distance: Float[Array, ""]
    """From the camera to the position."""
    surface: Float[Array, ""]
    """From the camera to the surface in the pixel of the position; arbitrary if not inside."""
    inside: Bool[Array, ""]
    """Whether the position projects into the image and lies between near and far."""


def sample_depth(
    camera: Cameras, depth: Float[Array, "H W"], position: Float[Array, "3"]
) -> DepthSample:
    """Project a position into one view by a pinhole camera, and read the depth of its pixel.

    The depth is not interpolated: neighbouring pixels may show two different surfaces.
    """
    height, width = depth.shape
    rotation, origin = camera.world_from_camera[:, :3], camera.world_from_camera[:, 3]
    distance = jnp.linalg.norm(position - origin)
    x, y, z = (position - origin) @ rotation
    in_front = z < 0
    # Safe division; positions behind the camera are masked below.
    on_plane = jnp.stack([x, -y]) / jnp.where(in_front, -z, 1.0)
    pixel = camera.focal * on_plane + camera.principal
    inside = in_front & (pixel >= 0).all() & (pixel[0] < width) & (pixel[1] < height)
    inside &= (distance > camera.near) & (distance < camera.far)
    column, row = jnp.clip(pixel, 0, jnp.array([width - 1, height - 1])).astype(int)
    return DepthSample(distance, depth[row, column], inside)


def surface_points(views: Views) -> tuple[Float[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """The points where the views' rays hit a surface, and their colours."""
    points = []
    for index, depth in enumerate(views.depth):
        rays = jax.device_get(cast_image_rays(views.cameras, index, depth.shape))
        hit = np.isfinite(depth)
        points.append(rays.origin[hit] + depth[hit][:, None] * rays.direction[hit])
    return np.concatenate(points), views.rgb[np.isfinite(views.depth)]


def pixel_width(views: Views, height: int) -> float:
    """The median width in world units of a pixel on the visible surfaces, if the same images had
    ``height`` rows.
    """
    width = views.depth / np.asarray(views.cameras.focal).mean(axis=1)[:, None, None]
    return float(np.median(width[np.isfinite(width)])) * views.depth.shape[1] / height
