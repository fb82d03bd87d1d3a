"""From where somebody looks, and from what is seen there to the picture on their screen."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, UInt8

from nerf_jax.app.images import color_depth, depth_range, to_uint8
from nerf_jax.app.normals import color_normals, normals
from nerf_jax.types import Cameras, Rendering

Show = Literal["Colour", "Depth", "Opacity", "Normals"]
SHOWS: tuple[Show, ...] = get_args(Show)

Rgb = tuple[float, float, float]
"""In [0, 1]."""


class View(NamedTuple):
    """Where somebody looks from, and how wide: a pinhole in the middle of its picture."""

    world_from_camera: Float[np.ndarray, "3 4"]
    """Camera axes: x right, y up, looking along -z."""
    fov_radians: float
    """From the top of the picture to the bottom."""
    aspect: float
    """Of the picture, width over height."""

    @property
    def origin(self) -> Float[np.ndarray, "3"]:
        return self.world_from_camera[:, 3]

    @property
    def ahead(self) -> Float[np.ndarray, "3"]:
        return -self.world_from_camera[:, 2]


@dataclass(frozen=True)
class Look:
    """How what is seen is shown."""

    show: Show = "Colour"
    background: Rgb = (1.0, 1.0, 1.0)
    depth: bool = False
    """Whether other things are drawn among it, which it must then hide if they are behind."""


class Picture(NamedTuple):
    """What a screen shows."""

    pixels: UInt8[np.ndarray, "H W 3"]
    depth: Float[np.ndarray, "H W"] | None = None
    """Along the camera's axis, world units; :data:`DEEPEST` where there is nothing."""
    scale: tuple[float, float] | None = None
    """The distances shown red and blue, where it shows distances."""


DEEPEST = 2**24 / 1e5
"""World units: viser sends depths as 24 bits of hundred thousandths."""


def size_of(aspect: float, resolution: int) -> tuple[int, int]:
    """Height and width of a picture whose longer side is ``resolution`` pixels."""
    height, width = min(1.0, 1 / aspect), min(1.0, aspect)
    return max(1, round(resolution * height)), max(1, round(resolution * width))


def camera_of(view: View, size_hw: tuple[int, int], bounds: tuple[float, float]) -> Cameras:
    """The camera of a view's picture: NumPy arrays of leading axis 1.

    Args:
        view: from where.
        size_hw: of the picture, of about the view's aspect.
        bounds: where its rays start and end, world units.
    """
    height, width = size_hw
    focal_y = height / 2 / np.tan(view.fov_radians / 2)
    focal_x = width / 2 / (np.tan(view.fov_radians / 2) * view.aspect)
    return Cameras(
        world_from_camera=np.asarray(view.world_from_camera, np.float32)[None],
        focal=np.array([[focal_x, focal_y]], np.float32),
        principal=np.array([[width / 2, height / 2]], np.float32),
        near=np.array(bounds[:1], np.float32),
        far=np.array(bounds[1:], np.float32),
    )


def paint(seen: Rendering, camera: Cameras, behind: Rgb, look: Look) -> Picture:
    """The picture of what was seen.

    Args:
        seen: NumPy arrays [H, W, ...].
        camera: what it was seen by, a pinhole; leaves of leading axis 1.
        behind: the background that ``seen.rgb`` lies on.
        look: how to show it.
    """
    opacity = np.asarray(seen.opacity)
    size_hw = (opacity.shape[0], opacity.shape[1])
    distance = np.asarray(seen.median_depth)
    scale = None
    match look.show:
        case "Colour":
            image, through = np.asarray(seen.rgb), 1 - opacity
        case "Depth":
            scale = depth_range(distance, opacity)
            image, behind = color_depth(distance, opacity, *scale), (1.0, 1.0, 1.0)
            through = 1 - opacity
        case "Opacity":
            image = np.repeat(opacity[..., None], 3, axis=-1)
            through = np.zeros_like(opacity)
        case "Normals":
            across = normals(distance, opacity, camera, size_hw)
            image, behind = color_normals(across, opacity), (1.0, 1.0, 1.0)
            through = 1 - opacity * np.any(across != 0, axis=-1)
    change = np.subtract(look.background, behind).astype(np.float32)
    pixels = to_uint8(image + through[..., None] * change)
    if not look.depth:
        return Picture(pixels, None, scale)
    depth = np.where(opacity > 0.5, distance * _cosine(camera, size_hw), DEEPEST)
    return Picture(pixels, depth.astype(np.float32), scale)


def _cosine(camera: Cameras, size_hw: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Between each pixel's ray and the axis: what makes a distance a depth."""
    focal, principal = camera.focal[0], camera.principal[0]
    x = (np.arange(size_hw[1]) + 0.5 - principal[0]) / focal[0]
    y = (np.arange(size_hw[0]) + 0.5 - principal[1]) / focal[1]
    return 1 / np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)
