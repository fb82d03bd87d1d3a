"""The pytrees that the parts exchange, and the contracts between them.

Conventions, stated once for the whole package:

- World: right-handed, as the data has it. Camera: x right, y up, looking along -z
  (OpenGL, Blender, NeRF). Matrices are named ``world_from_camera``.
- Colours are sRGB in [0, 1] and are composited in sRGB. Densities are per world unit.
- Functions are written for one ray or one point; callers ``vmap``. Every type below is
  documented for one element, and carries leading axes wherever it holds many.

Notation: ``S`` samples of a ray, ``F`` features, ``N`` images, ``H`` rows, ``W`` columns.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

HostArray = Array | np.ndarray
"""An array made or read on the host, which is NumPy's there."""

Params = Any
"""A pytree of arrays that the optimiser updates."""

Aux = Any
"""A pytree of arrays that changes without a gradient (an occupancy grid), or ``()``."""

Metrics = dict[str, Array]
"""Named scalars of one training step; ``loss`` and ``mse`` are always among them.

``kept``, where present, is the share of the sampled rays that the step learned from."""


class Point(NamedTuple):
    """A sample of the field: a position and its footprint."""

    position: Float[Array, "*#n 3"]
    """World units."""
    variance: Float[Array, "*#n 3"]
    """Of the footprint along each axis; unused by methods that sample points."""


class View(NamedTuple):
    """The inputs of the colour in addition to the point."""

    direction: Float[Array, "*#n 3"]
    """Unit vector, away from the camera."""
    appearance: Int[Array, "*#n"]
    """The index of the photo, for methods with appearance codes; otherwise unused."""


class Rays(NamedTuple):
    """Half lines ``origin + t direction`` with ``near <= t <= far``."""

    origin: Float[Array, "*#n 3"]
    """World units."""
    direction: Float[Array, "*#n 3"]
    """Unit vector, so that ``t`` is a distance in world units."""
    near: Float[Array, "*#n"]
    far: Float[Array, "*#n"]
    radius: Float[Array, "*#n"]
    """Of the pixel's cone at distance 1, dimensionless; proportional to the distance. 0: a line."""
    appearance: Int[Array, "*#n"]
    """The index of the training image that the ray belongs to; -1: none."""


class Rendering(NamedTuple):
    """The result of rendering a ray."""

    rgb: Float[Array, "*#n 3"]
    """Colour; over the background once :func:`nerf_jax.compositing.over` has been applied."""
    opacity: Float[Array, "*#n"]
    """The share of the light absorbed before ``far``, in [0, 1]."""
    depth: Float[Array, "*#n"]
    """Expected distance of the surface, in world units; ``far`` where nothing was hit."""
    median_depth: Float[Array, "*#n"]
    """The distance where half of ``opacity`` has accumulated; ``far`` where nothing was hit."""


class Lens(NamedTuple):
    """Lens distortion: OpenCV's models.

    With ``r`` the distance from the axis on the pinhole's image plane at unit distance, radial and
    tangential: ``x (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) + 2 p1 x y + p2 (r^2 + 2 x^2)``, and
    likewise for y; fisheye: ``r`` becomes ``theta (1 + k1 theta^2 + ... + k4 theta^8)``, theta
    being the angle from the axis. Image axes: x right, y down.
    """

    radial: Float[HostArray, "*#n 4"]
    """k1 to k4."""
    tangential: Float[HostArray, "*#n 2"]
    """p1 and p2; unused by a fisheye."""
    fisheye: Bool[HostArray, "*#n"]


class Cameras(NamedTuple):
    """Cameras. Pixel (column ``i``, row ``j``) has its centre at ``(i + 0.5, j + 0.5)``."""

    world_from_camera: Float[HostArray, "*#n 3 4"]
    focal: Float[HostArray, "*#n 2"]
    """Pixels, along x and y."""
    principal: Float[HostArray, "*#n 2"]
    """Pixels from the upper left corner of the image, x and y."""
    near: Float[HostArray, "*#n"]
    """World units along the ray."""
    far: Float[HostArray, "*#n"]
    lens: Lens | None = None
    """None: all cameras are pinholes."""


class RayTable(NamedTuple):
    """Cameras given by one ray for each pixel, as ray datasets store them."""

    origin: Float[HostArray, "N H W 3"]
    direction: Float[HostArray, "N H W 3"]
    """Unit vectors."""
    near: Float[HostArray, " N"]
    far: Float[HostArray, " N"]


class Bands(NamedTuple):
    """The positions of bands of photos: some rows each, over the whole width."""

    image: Int[HostArray, " N"]
    """The index of the photo."""
    row: Int[HostArray, " N"]
    """The photo's row that is the band's first."""


class Dataset(NamedTuple):
    """Posed images, as they are kept on the device."""

    cameras: Cameras | RayTable
    pixels: Shaped[HostArray, "N H W C"]
    """uint8 in [0, 255] or float32 in [0, 1]; C = 3 (colour) or 4 (colour and straight alpha)."""
    mask: Bool[HostArray, "N H W"] | None = None
    """The valid pixels; None: all. The others are neither learned from nor scored: masked pixels,
    and padding where images of several sizes share one array."""
    depth: Float[HostArray, "N H W"] | None = None
    """Known distances along the rays, world units, for depth supervision; 0: unknown."""
    bands: Bands | None = None
    """If set, the N images are bands of the cameras' photos, of which only some are here."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.pixels.shape[1], self.pixels.shape[2]


class Batch(NamedTuple):
    """Rays to learn from."""

    rays: Rays
    pixel: Float[Array, "*#n C"]
    """The photo's value, in [0, 1]; C = 3, or 4 with straight alpha."""
    mask: Float[Array, "*#n"]
    """1 for a ray to learn from, 0 for a masked one."""
    depth: Float[Array, "*#n"]
    """A known distance along the ray, between its near and far; 0: unknown."""
    offset: Float[Array, "*#n 2"] | None = None
    """Of the pixel from the principal point: :func:`nerf_jax.camera_model.pixel_offset`."""
    progress: Float[Array, ""] | None = None
    """The fraction of training that is done, in [0, 1], as far as its end is known."""


class Field(NamedTuple):
    """The interface of a scene representation for a renderer.

    Density and colour are two functions, as the cheap density alone finds the surface. A
    closed-form scene has the same interface, so every renderer can be tested for exact results.
    """

    init: Callable[[Array], Params]
    """``key -> params``"""
    density: Callable[[Params, Point], tuple[Array, Array]]
    """``(params, point) -> (sigma[], features[F])``, with ``sigma >= 0`` per world unit."""
    color: Callable[[Params, Array, View], Array]
    """``(params, features[F], view) -> rgb[3]``, in [0, 1]."""
    environment: Callable[[Params, View], Array] | None = None
    """``(params, view) -> rgb[3]``: the colour of what is infinitely far; None: not known."""


class Model(NamedTuple):
    """One method, whole: training and rendering know nothing else of it."""

    init: Callable[[Array, Cameras | RayTable, tuple[int, int]], tuple[Params, Aux]]
    """``(key, cameras, (height, width)) -> (params, aux)``, fitted to the training cameras. On the
    host: not to be compiled."""
    loss: Callable[[Params, Aux, Array, Batch], tuple[Array, Metrics]]
    """``(params, aux, keys[R], batch[R]) -> (loss, metrics)``: means over the rays of the batch,
    but for the loss if :attr:`reduction` is ``sum``.

    One key a ray, so that the result does not depend on how the rays are split over devices.
    """
    refresh: Callable[[Params, Aux, Array, Array], Aux]
    """``(params, aux, key, step) -> aux``: what changes without a gradient; identity for most."""
    render: Callable[[Params, Aux, Rays], Rendering]
    """``(params, aux, rays[R]) -> rendering[R]``: deterministic, over the method's background."""
    density: Callable[[Params, Aux, Point], Array]
    """``(params, aux, points[N]) -> sigma[N]``, per world unit; zero where ``render`` skips it."""
    cameras: Callable[[Params, Cameras], Cameras] = lambda params, cameras: cameras
    """``(params, cameras) -> cameras``: the training cameras as learned; identity for most."""
    reduction: Literal["mean", "sum"] = "mean"
    """Of the losses of a step's rays: if ``sum``, ``loss`` returns theirs, with mean metrics."""
