"""Scenes of random numbers, harder to render alike than learned ones; pages in a real browser."""

import base64
import functools
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from nerf_jax import methods
from nerf_jax.app.runs import Clock, Run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.app.trained import Trained
from nerf_jax.cameras import cast_rays, look_at, resize
from nerf_jax.config import Config, HashConfig
from nerf_jax.data.scene import Scene, Split
from nerf_jax.devices import ray_mesh
from nerf_jax.methods import make_optimizer
from nerf_jax.train import init_state
from nerf_jax.types import Dataset, Rays, Rendering
from tests import small

SIZE = 32
"""Pixels of a page, and twice those of the photos."""
NAMES = ("one", "two", "</script>", "four")


def config(*, pose_learning_rate: float = 0.0, background: str = "white", **model: Any) -> Config:
    sizes = {
        "num_levels": 3,
        "num_features": 4,
        "max_entries": 2**10,
        "min_resolution": 6,
        "max_resolution": 40,
        "width": 8,
        "density_bias": 2.0,
        "grid_resolution": 16,
        "num_candidates": 64,
        "max_samples": 2**12,
        "min_alpha": 1e-3,
        "min_transmittance": 1e-3,
    }
    own = replace(small.config(), model=HashConfig(**(sizes | model)))
    return replace(
        own,
        data=replace(own.data, background=background),
        optimizer=replace(own.optimizer, pose_learning_rate=pose_learning_rate),
        eval=replace(own.eval, rays_per_chunk=SIZE * SIZE),
    )


@functools.cache
def scene(settings: Config, run: Run | None = None) -> Trained:
    """A scene whose features, codes, biases and poses are random, in random blocks of cells."""
    data = _from_one_side() if settings.model.space == "frustum" else small.dataset()
    optimizer = make_optimizer(settings.optimizer)
    state = init_state(methods.build(settings), optimizer, data, ray_mesh())
    rng = np.random.default_rng(0)

    def randomized(path: tuple, leaf: jax.Array) -> jax.Array:
        scale = {"kernel": 0.0, "poses": 0.01}.get(getattr(path[-1], "key", ""), 0.5)
        return leaf + scale * jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)

    cells = state.aux.occupied.shape[0]
    blocks = rng.random((cells // 4,) * 3) < 0.3
    occupied = jnp.asarray(np.kron(blocks, np.ones((4, 4, 4))) > 0)
    state = state._replace(
        params=jax.tree.map_with_path(randomized, state.params),
        aux=state.aux._replace(occupied=occupied, distance=jnp.zeros_like(state.aux.distance)),
    )
    cameras = SceneCameras.of(Scene("noise", "", {}), {"train": Split(data, NAMES)})
    return Trained.of(settings, state, cameras, Clock(train_seconds=75.0), run)


def _from_one_side() -> Dataset:
    data, up = small.dataset(), np.array([0.0, 0.0, 1.0])
    places = [np.array([x, -4.0, z]) for x, z in ((0.0, 0.0), (0.3, 0.1), (-0.2, 0.3), (0.1, -0.3))]
    poses = np.stack([look_at(place, np.zeros(3), up) for place in places])
    return data._replace(cameras=data.cameras._replace(world_from_camera=poses))


def rendering(scene: Trained, view: int = 0, size: int = SIZE) -> Rendering:
    """The view of a training camera."""
    return scene.render(resize(scene.cameras(), size / small.SIZE), view, (size, size))


def settings_of(page: str) -> dict[str, Any]:
    """The numbers that a page was written with."""
    return json.loads(re.search(r'id="scene">(.*?)</script>', page, re.DOTALL)[1])


AS_ON_A_GPU = """
const get = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
  const found = get.call(this, name);
  return typeof found === "string" ? "a GPU" : found;
};"""
"""A script with which a page takes the renderer for a GPU, and keeps its networks in buffers."""


class Opened:
    """A page in a browser."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def image(self) -> np.ndarray:
        """The canvas, once it is sharp: [H, W, 3] in [0, 1]."""
        self.page.wait_for_selector("html[data-state=sharp]", state="attached")
        address = self.page.evaluate("canvas.toDataURL()")
        image = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
        return np.asarray(image.convert("RGB")) / 255

    def wait_until(self, condition: str) -> None:
        """Wait for an expression to be true; the page's policy forbids Playwright's own way."""
        for _ in range(300):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{condition} stays false")

    def click(self, name: str) -> None:
        """A button, also where the page is too small to show it whole."""
        self.page.locator(f"#{name}").dispatch_event("click")


@contextmanager
def opened(browser: Any, path: Path, script: str = "", size: int = SIZE) -> Iterator[Opened]:
    """Open a page without a network; fail if it logs anything or asks for another file."""
    page = browser.new_page(viewport={"width": size, "height": size})
    errors: list[str] = []
    requests: list[str] = []
    page.context.set_offline(True)
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.add_init_script(script)
    page.goto(path.as_uri())
    yield Opened(page)
    page.close()
    assert errors == []
    assert {address.split(":")[0] for address in requests} <= {"file", "data", "blob"}
    assert sum(address.startswith("file:") for address in requests) == 1


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((image - np.clip(truth, 0, 1)) ** 2)))


def first_ray(scene: Trained) -> Rays:
    """The ray through the middle of the first view."""
    cameras = jax.tree.map(jnp.asarray, scene.cameras())
    return cast_rays(cameras, 0, jnp.array([small.SIZE / 2] * 2))
