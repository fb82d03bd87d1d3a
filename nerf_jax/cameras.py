"""Cameras: the ray of a pixel, and the projection of a point.

Camera axes: x right, y up, looking along -z. Pixel (column ``i``, row ``j``) has its centre at
``(i + 0.5, j + 0.5)``, rows counted from the top of the image.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nerf_jax.lenses import from_image_plane, to_image_plane
from nerf_jax.numerics import normalize, safe_norm
from nerf_jax.types import Cameras, HostArray, Rays, RayTable


def cast_rays(
    cameras: Cameras | RayTable,
    image: int | Int[HostArray, ""],
    pixel: Float[HostArray, "2"] | Int[HostArray, "2"],
) -> Rays:
    """The ray through one pixel of one image.

    Runs inside the training step: no array of all rays is made, and gradients reach the pose, the
    focal length and the lens.

    Args:
        cameras: N of them.
        image: which camera.
        pixel: column and row. Integers name a pixel, whose ray passes through its centre; floats
            are image coordinates, with centres at halves. A ray table takes integers only.

    Returns:
        The ray, its direction a unit vector.
    """
    if isinstance(cameras, RayTable):
        return Rays(
            origin=jnp.asarray(cameras.origin)[image, pixel[1], pixel[0]],
            direction=jnp.asarray(cameras.direction)[image, pixel[1], pixel[0]],
            near=jnp.asarray(cameras.near)[image],
            far=jnp.asarray(cameras.far)[image],
            radius=_radius_in_table(cameras, image, pixel),
            appearance=jnp.asarray(image, jnp.int32),
        )
    camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[image], cameras)
    position = pixel if jnp.issubdtype(pixel.dtype, jnp.floating) else pixel + 0.5
    point = (position - camera.principal) / camera.focal
    direction, across = _with_jacobian(functools.partial(from_image_plane, camera.lens), point)
    # How far apart the directions of neighbouring pixels are, along rows and columns.
    sides = safe_norm(across.T) / camera.focal
    rotation, origin = camera.world_from_camera[:, :3], camera.world_from_camera[:, 3]
    return Rays(
        origin=origin,
        direction=normalize(rotation @ direction),
        near=camera.near,
        far=camera.far,
        radius=_DISC * jnp.mean(sides) / safe_norm(direction),
        appearance=jnp.asarray(image, jnp.int32),
    )


def _with_jacobian(
    f: Callable[[Float[Array, "2"]], Float[Array, "3"]], x: Float[Array, "2"]
) -> tuple[Float[Array, "3"], Float[Array, "3 2"]]:
    """A function's value and Jacobian, for one evaluation."""

    def twice(x: Float[Array, "2"]) -> tuple[Array, Array]:
        value = f(x)
        return value, value

    jacobian, value = jax.jacfwd(twice, has_aux=True)(x)
    return value, jacobian


@functools.partial(jax.jit, static_argnames="size_hw")
def cast_image_rays(
    cameras: Cameras | RayTable, image: int | Int[HostArray, ""], size_hw: tuple[int, int]
) -> Rays:
    """The rays through all pixels of one image: leaves [H, W, ...]."""
    rows, columns = (jnp.arange(side) for side in size_hw)

    def one(row: Int[Array, ""], column: Int[Array, ""]) -> Rays:
        return cast_rays(cameras, image, jnp.stack([column, row]))

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(rows, columns)


@functools.partial(jax.jit, static_argnames="size_hw")
def axis_cosines(
    cameras: Cameras, image: int | Int[HostArray, ""], size_hw: tuple[int, int]
) -> Float[Array, "H W"]:
    """The cosines between an image's rays and its optical axis: depth over distance."""
    camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[image], cameras)

    def one(row: Int[Array, ""], column: Int[Array, ""]) -> Float[Array, ""]:
        pixel = jnp.stack([column, row]) + 0.5
        direction = from_image_plane(camera.lens, (pixel - camera.principal) / camera.focal)
        return -normalize(direction)[2]

    rows, columns = (jnp.arange(side) for side in size_hw)
    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(rows, columns)


def project(
    cameras: Cameras, image: int | Int[HostArray, ""], point: Float[HostArray, "3"]
) -> tuple[Float[Array, "2"], Float[Array, ""]]:
    """The projection of a world point into one image: the inverse of :func:`cast_rays`.

    Args:
        cameras: N of them.
        image: which camera.
        point: world units.

    Returns:
        The position in pixels, column and row, also outside of the image; and the depth, along the
        camera's -z in world units. Where the depth is not positive, only a fisheye sees the point;
        for other lenses the position is meaningless, if finite.
    """
    camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[image], cameras)
    rotation, origin = camera.world_from_camera[:, :3], camera.world_from_camera[:, 3]
    direction = rotation.T @ (point - origin)
    position = to_image_plane(camera.lens, direction)
    return camera.focal * position + camera.principal, -direction[2]


_DISC = 2 / 12**0.5
"""The radius of a disc relative to the width of a pixel of the same variance (mip-NeRF, 3.1).

A pixel has its width on the image plane, which is farther away for a ray off the axis: so the
``radius`` at distance 1 falls with the cosine. A lens magnifies it. A fisheye has no such plane:
its pixels' width is the angle that they see.
"""

_LEAST_COSINE = 0.26
"""Of a pinhole's rays with its axis, 75 degrees: an image that sees more is a fisheye's."""


def _radius_in_table(
    table: RayTable, image: int | Int[HostArray, ""], pixel: Int[HostArray, "2"]
) -> Float[Array, ""]:
    """The radius of a pixel's cone, from its direction and its neighbours' in row and column.

    It is that of cameras whose axis is at the centre of the image.
    """
    _, height, width, _ = table.direction.shape
    column, row = pixel

    def at(row: HostArray | int, column: HostArray | int) -> Float[Array, "*n 3"]:
        return jnp.asarray(table.direction)[image, row, column]  # never all of the image

    axis = normalize(at(height // 2, width // 2) + at((height - 1) // 2, (width - 1) // 2))
    # A single row is in no order that tells of an image.
    has_plane = (height > 1) & (width > 1) & (at(0, 0) @ axis > _LEAST_COSINE)

    def to_plane(direction: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
        cosine = jnp.maximum(direction @ axis, _LEAST_COSINE)[..., None]
        return jnp.where(has_plane, direction / cosine, direction)

    here = to_plane(at(row, column))
    sides = []
    if width > 1:
        sides.append(at(row, _neighbours(column, width)))
    if height > 1:
        sides.append(at(_neighbours(row, height), column))
    if not sides:
        return jnp.float32(0)
    # The nearer of two neighbours: in a single row the other may be of another image.
    widths = [jnp.min(safe_norm(to_plane(two) - here[None])) for two in sides]
    return _DISC * jnp.mean(jnp.stack(widths)) / safe_norm(here)


def _neighbours(index: Int[HostArray, ""], size: int) -> Int[Array, "2"]:
    """Those of an index below ``size``; at an end, the one inside twice."""
    return jnp.stack([jnp.abs(index - 1), size - 1 - jnp.abs(size - 2 - index)])


def look_at(
    origin: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], up: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 4"]:
    """``world_from_camera`` of a camera at ``origin`` with ``target`` at the centre of its image.

    Raises:
        ValueError: ``target`` is at the camera, or straight above or below it.
    """
    back = np.asarray(origin, float) - np.asarray(target, float)
    right = np.cross(np.asarray(up, float), back)
    if np.linalg.norm(right) <= 1e-9 * np.linalg.norm(back):
        raise ValueError(f"a camera at {origin} cannot look at {target} with {up} up")
    right, back = right / np.linalg.norm(right), back / np.linalg.norm(back)
    return np.stack([right, np.cross(back, right), back, origin], axis=1).astype(np.float32)


def focus_point(world_from_camera: Float[np.ndarray, "N 3 4"]) -> Float[np.ndarray, "3"]:
    """The point nearest to all optical axes, by least squares.

    For parallel axes it is the one nearest to the mean camera.
    """
    axes, origins = -world_from_camera[:, :, 2], world_from_camera[:, :, 3]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # projects onto the image plane
    mean = origins.mean(axis=0)
    offsets = (across @ (origins - mean)[:, :, None]).sum(axis=0)[:, 0]
    return mean + np.linalg.lstsq(across.sum(axis=0), offsets, rcond=1e-6)[0]


def resize(cameras: Cameras, factor: float) -> Cameras:
    """The cameras with images ``factor`` times as large: only the intrinsics change."""
    return cameras._replace(focal=cameras.focal * factor, principal=cameras.principal * factor)


def reframe(cameras: Cameras, old_hw: tuple[int, int], new_hw: tuple[int, int]) -> Cameras:
    """The cameras with images of another size and aspect ratio.

    The vertical field of view is kept; a wider image shows more at its sides.
    """
    factor = new_hw[0] / old_hw[0]
    old, new = (np.array(size_hw[::-1], np.float32) for size_hw in (old_hw, new_hw))
    return cameras._replace(
        focal=np.float32(factor) * np.asarray(cameras.focal),
        principal=new / 2 + np.float32(factor) * (np.asarray(cameras.principal) - old / 2),
    )
