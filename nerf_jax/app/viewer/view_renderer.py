"""What sees the scene for all visitors: one compiled program for all views, sizes and crops."""

import threading
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax.app.trained import Trained
from nerf_jax.app.viewer.picture import Rgb
from nerf_jax.compositing import solid
from nerf_jax.config import Config
from nerf_jax.contraction import Box, intersect
from nerf_jax.render import image_renderer
from nerf_jax.types import Aux, Cameras, Model, Params, Rays, Rendering

Render = Callable[[Params, Aux, Rays], Rendering]

Crop = tuple[tuple[float, float, float], tuple[float, float, float]]
"""The lowest and the highest corner of a box, world units."""


class Eye:
    """Sees a scene band by band, so that it can be called off in between."""

    def __init__(self, config: Config, method: Model) -> None:
        self.rays_at_once = rays_at_once(config)
        behind = solid(config.data.background)
        red, green, blue = np.asarray(behind).tolist()
        self.behind: Rgb = (red, green, blue)
        self._render = image_renderer(within(method.render, behind), self.rays_at_once)
        self._compiling = threading.Lock()
        self._is_compiled = False

    def warm_up(self, scene: Trained) -> None:
        """Compile, unless that is done: the first picture must not be late for all others."""
        with self._compiling:
            if not self._is_compiled:
                camera = jax.tree.map(lambda leaf: np.asarray(leaf)[:1], scene.cameras())
                list(self._bands(scene, camera._replace(lens=None), (1, 1), box_of(None)))
                self._is_compiled = True

    def see(
        self,
        scene: Trained,
        camera: Cameras,
        size_hw: tuple[int, int],
        box: Box,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Rendering | None:
        """What a pinhole sees within a box, as NumPy arrays [H, W, ...].

        Args:
            scene: what there is to see.
            camera: leaves of leading axis 1, as NumPy arrays.
            size_hw: of the picture.
            box: all else is left out.
            go_on: asked before every band; None comes back once it says no.
        """
        parts = []
        for part in self._bands(scene, camera, size_hw, box):
            parts.append(part)
            if not go_on():
                return None
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def _bands(
        self, scene: Trained, camera: Cameras, size_hw: tuple[int, int], box: Box
    ) -> Iterator[Rendering]:
        params, aux = (scene.state.params, box), scene.state.aux
        for band, band_hw in bands(camera, size_hw, self.rays_at_once):
            yield self._render(params, aux, band, 0, band_hw)


def box_of(crop: Crop | None) -> Box:
    """The box that is asked for, or one that holds everything."""
    low, high = ((-np.inf,) * 3, (np.inf,) * 3) if crop is None else crop
    return Box(jnp.array(low, jnp.float32), jnp.array(high, jnp.float32))


def rays_at_once(config: Config) -> int:
    """How many rays the one program is compiled for: few enough that a coarse picture is no waste.

    A CPU gains nothing by more, and where every sample is read a second is over with some hundred.
    """
    wanted = config.eval.rays_per_chunk
    if jax.default_backend() == "cpu":
        wanted = 4096 if config.model.is_sparse else 256
    devices = jax.device_count()
    return max(devices, wanted - wanted % devices)


def bands(
    camera: Cameras, size_hw: tuple[int, int], rays_at_once: int
) -> Iterator[tuple[Cameras, tuple[int, int]]]:
    """A picture in bands of rows, each with the camera that sees it alone, and its size."""
    height, width = size_hw
    rows = max(1, rays_at_once // width)
    for top in range(0, height, rows):
        principal = camera.principal - np.array([[0, top]], np.float32)
        yield camera._replace(principal=principal), (min(rows, height - top), width)


def within(render: Render, behind: Float[Array, "3"]) -> Render:
    """A method's rendering of what lies in a box, which comes with the parameters.

    Args:
        render: the method's.
        behind: the background that it lays its colours on.

    Returns:
        The same of ``((params, box), aux, rays)``.
    """

    def render_within(params: Params, aux: Aux, rays: Rays) -> Rendering:
        params, box = params
        start, stop = jax.vmap(intersect, (0, None))(rays, box)
        hits = start < stop
        # A ray that misses ends where it starts.
        cut = rays._replace(
            near=jnp.where(hits, start, rays.near), far=jnp.where(hits, stop, rays.near)
        )
        seen = render(params, aux, cut)
        return Rendering(
            rgb=jnp.where(hits[:, None], seen.rgb, jnp.broadcast_to(behind, seen.rgb.shape)),
            opacity=jnp.where(hits, seen.opacity, 0.0),
            depth=jnp.where(hits, seen.depth, rays.far),
            median_depth=jnp.where(hits, seen.median_depth, rays.far),
        )

    return render_within
