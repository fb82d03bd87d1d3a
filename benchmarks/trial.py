"""A training run for measurements: a config, its state, and scores on held-out views."""

import time
from dataclasses import replace

import jax
import numpy as np

from nerf_jax import config as configs
from nerf_jax import data, methods
from nerf_jax.app.fit import horizon
from nerf_jax.compositing import pixel_over, solid_background, to_float
from nerf_jax.config import Config
from nerf_jax.devices import ray_mesh
from nerf_jax.methods import make_optimizer
from nerf_jax.render import image_renderer
from nerf_jax.train import init_state, make_train_steps
from nerf_jax.types import Dataset


class Trial:
    """A scene in training, which can be interrupted for measurements."""

    def __init__(
        self, config: Config, steps_per_call: int = 20, pictures: Dataset | None = None
    ) -> None:
        """``pictures``: training images that replace the scene's."""
        scene, self.mesh = data.load(config.data), ray_mesh()
        pictures = scene.split("train").dataset if pictures is None else pictures
        config = replace(config, model=methods.resolve(config.model, pictures)[0])
        self.config, self.model = config, methods.build(config)
        self.dataset = jax.device_put(pictures)
        self.held_out = jax.device_put(scene.split(config.eval.split).dataset)
        optimizer = make_optimizer(config.optimizer)
        self.state = init_state(self.model, optimizer, pictures, self.mesh, seed=config.train.seed)
        start = time.perf_counter()
        steps = make_train_steps(
            self.model, optimizer, self.mesh, config.train.rays_per_step, steps_per_call
        )
        self.steps = steps.lower(self.state, self.dataset, np.float32(1)).compile()
        self.compile_seconds = time.perf_counter() - start
        memory = self.steps.memory_analysis()
        self.planned_mib = (memory.temp_size_in_bytes + memory.argument_size_in_bytes) >> 20
        self.render = image_renderer(self.model.render, config.eval.rays_per_chunk, self.mesh)
        self.seconds = 0.0

    def train(self, until_seconds: float, max_steps: int | None = None) -> dict[str, float]:
        """Train up to a training time or step; the mean metrics of the last call."""
        metrics: dict[str, np.ndarray] = {}
        while self.seconds < until_seconds and (max_steps is None or self.step < max_steps):
            end = np.float32(horizon(self.config.train, self.step, self.seconds))
            start = time.perf_counter()
            self.state, metrics = self.steps(self.state, self.dataset, end)
            metrics = jax.device_get(metrics)
            self.seconds += time.perf_counter() - start
        return {name: float(values.mean()) for name, values in metrics.items()}

    @property
    def step(self) -> int:
        return int(self.state.step)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the held-out views."""
        return self.held_out.pixels.shape[1:3]

    def view(self, index: int) -> np.ndarray:
        """A held-out view, rendered from the current state."""
        cameras = self.held_out.cameras
        view = self.render(self.state.params, self.state.aux, cameras, index, self.size_hw)
        return np.clip(view.rgb, 0.0, 1.0)

    def psnrs(self, views: range) -> list[float]:
        """PSNR of held-out views, in float32 over the config's background."""
        background = solid_background(self.config.data.background)
        found = []
        for index in views:
            truth = pixel_over(to_float(self.held_out.pixels[index]), background)
            found.append(float(-10 * np.log10(np.mean((self.view(index) - truth) ** 2))))
        return found


def lego(preset: str, **model_fields: object) -> Config:
    """The packaged lego config for "cpu" or "gpu", with fields of its model replaced."""
    config = configs.load("lego.py", preset)
    return replace(config, model=replace(config.model, **model_fields))
