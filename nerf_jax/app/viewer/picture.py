"""From a camera to the picture in the page: rendering within a box, and the displayed quantity."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from nerf_jax.app.images import color_depth, depth_range, to_uint8
from nerf_jax.app.normals import color_normals, normals
from nerf_jax.app.trained import Trained
from nerf_jax.compositing import solid_background
from nerf_jax.config import Config
from nerf_jax.contraction import Box, intersect
from nerf_jax.render import image_renderer
from nerf_jax.types import Aux, Cameras, Model, Params, Rays, Rendering

RenderRays = Callable[[Params, Aux, Rays], Rendering]
QUANTITIES = "Colour", "Depth", "Opacity", "Normals"
Rgb = tuple[float, float, float]
"""In [0, 1]."""

WHITE: Rgb = (1.0, 1.0, 1.0)

Crop = tuple[tuple[float, float, float], tuple[float, float, float]]
"""The lowest and the highest corner of a box, world units."""

MAX_DEPTH = 2**24 / 1e5
"""World units: viser sends depths as 24-bit multiples of 1e-5."""


@dataclass(frozen=True)
class DisplayOptions:
    """The displayed quantity and background."""

    show: str = "Colour"
    background: Rgb = WHITE
    depth: bool = False
    """Whether depths are sent too, so that the scene occludes the objects in it."""


class Picture(NamedTuple):
    """The pixels of a page, and their depths."""

    pixels: UInt8[np.ndarray, "H W 3"]
    depth: Float[np.ndarray, "H W"] | None = None
    """Along the optical axis, world units; :data:`MAX_DEPTH` where the scene is transparent."""
    scale: tuple[float, float] | None = None
    """The distances shown red and blue, for a picture of distances."""


class ViewRenderer:
    """Renders for all clients, by one compiled program for every view, size and crop box."""

    def __init__(self, config: Config, model: Model) -> None:
        # A CPU gains nothing from more rays at once; a coarse picture or a cancelled one wastes
        # fewer of a small number. A dense method takes about a second for some hundred rays.
        rays, devices = config.eval.rays_per_chunk, jax.device_count()
        if jax.default_backend() == "cpu":
            rays = 4096 if config.model.is_sparse else 256
        self.rays_per_call = max(devices, rays - rays % devices)
        background = solid_background(config.data.background)
        self.background: Rgb = tuple(np.asarray(background).tolist())
        self._render = image_renderer(render_in_box(model.render, background), self.rays_per_call)
        self._compiling = threading.Lock()
        self._is_compiled = False

    def warm_up(self, scene: Trained) -> None:
        """Compile the program once, before any picture is timed."""
        with self._compiling:
            if not self._is_compiled:
                camera = jax.tree.map(lambda leaf: np.asarray(leaf)[:1], scene.cameras())
                self.render(scene, camera._replace(lens=None), (1, 1), None)
                self._is_compiled = True

    def render(
        self,
        scene: Trained,
        camera: Cameras,
        size_hw: tuple[int, int],
        crop: Crop | None,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> Rendering | None:
        """Render the part of a scene within a box, as NumPy arrays [H, W, ...].

        Args:
            scene: a trained scene.
            camera: a pinhole; NumPy arrays of leading axis 1.
            size_hw: of the image.
            crop: the box; None for the whole scene.
            keep_going: called after each band of rows; None is returned once it is false.
        """
        params, aux, parts = (scene.state.params, make_box(crop)), scene.state.aux, []
        height, width = size_hw
        rows = max(1, self.rays_per_call // width)
        for top in range(0, height, rows):
            band = camera._replace(principal=camera.principal - np.array([[0, top]], np.float32))
            parts.append(self._render(params, aux, band, 0, (min(rows, height - top), width)))
            if not keep_going():
                return None
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def picture(self, rendering: Rendering, camera: Cameras, options: DisplayOptions) -> Picture:
        """Convert a rendering by a pinhole, both as :meth:`render` has them, to a picture."""
        opacity, distance = np.asarray(rendering.opacity), np.asarray(rendering.median_depth)
        (height, width), scale, transparency = opacity.shape, None, 1 - opacity
        background = self.background
        match options.show:
            case "Colour":
                image = np.asarray(rendering.rgb)
            case "Depth":
                scale = depth_range(distance, opacity)
                image, background = color_depth(distance, opacity, *scale), WHITE
            case "Opacity":
                image = np.repeat(opacity[..., None], 3, axis=-1)
                transparency = np.zeros_like(opacity)
            case _:
                vectors = normals(distance, opacity, camera, (height, width))
                image, background = color_normals(vectors, opacity), WHITE
                transparency = 1 - opacity * np.any(vectors != 0, axis=-1)
        change = np.subtract(options.background, background).astype(np.float32)
        pixels = to_uint8(image + transparency[..., None] * change)
        if not options.depth:
            return Picture(pixels, None, scale)
        # In NumPy: `cameras.axis_cosines` would compile for each new image size.
        focal, principal = camera.focal[0], camera.principal[0]
        x = (np.arange(width) + 0.5 - principal[0]) / focal[0]
        y = (np.arange(height) + 0.5 - principal[1]) / focal[1]
        depth = distance / np.sqrt(1 + x**2 + y[:, None] ** 2)
        return Picture(pixels, np.where(opacity > 0.5, depth, MAX_DEPTH).astype(np.float32), scale)


def make_box(crop: Crop | None) -> Box:
    """The box of a crop, or an infinite one."""
    low, high = ((-np.inf,) * 3, (np.inf,) * 3) if crop is None else crop
    return Box(jnp.array(low, jnp.float32), jnp.array(high, jnp.float32))


def render_in_box(render: RenderRays, background: Float[Array, "3"]) -> RenderRays:
    """A method's ``render`` within a box: a function of ``((params, box), aux, rays)``.

    Rays that miss the box show the background.
    """

    def render_cropped(params: Params, aux: Aux, rays: Rays) -> Rendering:
        params, box = params
        start, stop = jax.vmap(intersect, (0, None))(rays, box)
        hits = start < stop
        # A ray that misses the box gets the length zero.
        near, far = jnp.where(hits, start, rays.near), jnp.where(hits, stop, rays.near)
        inside = render(params, aux, rays._replace(near=near, far=far))
        background_rgb = jnp.broadcast_to(background, inside.rgb.shape)
        return Rendering(
            rgb=jnp.where(hits[:, None], inside.rgb, background_rgb),
            opacity=jnp.where(hits, inside.opacity, 0.0),
            depth=jnp.where(hits, inside.depth, rays.far),
            median_depth=jnp.where(hits, inside.median_depth, rays.far),
        )

    return render_cropped
