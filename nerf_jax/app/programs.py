"""The compiled programs of training: one for each number of steps in a call, and the validation."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from nerf_jax.app.progress import say
from nerf_jax.compositing import solid_background
from nerf_jax.config import Config
from nerf_jax.devices import SPLIT, split_evenly
from nerf_jax.metrics import psnr
from nerf_jax.render import rays_renderer
from nerf_jax.train import TrainState, TrainSteps, make_train_steps, make_validation
from nerf_jax.types import Dataset, Model, Rays


@dataclass
class TrainingPrograms:
    """The programs of one training, compiled when they are first needed.

    Args:
        config: resolved.
        model, optimizer: the config's.
        mesh: the devices.
        dataset: the shapes of the images to train on.
        held_out: the images to validate on, on the devices.
    """

    config: Config
    model: Model
    optimizer: optax.GradientTransformation
    mesh: Mesh
    dataset: Dataset
    held_out: Dataset | None

    def __post_init__(self) -> None:
        self._steps: dict[int, TrainSteps] = {}
        if self.held_out is not None:
            background = solid_background(self.config.data.background)
            self._error = make_validation(self.model, self.mesh, self._rays_per_call(), background)

    def train_steps(self, num_steps: int, state: TrainState) -> TrainSteps:
        """The program of ``num_steps`` steps, as :func:`nerf_jax.train.make_train_steps`."""
        if num_steps not in self._steps:
            start = time.perf_counter()
            # Both programs at once, as XLA hardly uses a second core for one of them.
            with ThreadPoolExecutor(1) as executor:
                rendering = executor.submit(self._compile_rendering, state)
                steps: Any = self._make_steps(num_steps, self._num_passes())
                compiled = steps.lower(state, self.dataset, np.float32(1)).compile()
                rendering.result()
            seconds = time.perf_counter() - start
            memory = compiled.memory_analysis()
            size = memory.argument_size_in_bytes + memory.temp_size_in_bytes if memory else 0
            say(f"compiled in {seconds:.1f} s; training needs about {max(1, size >> 20):,} MiB")
            self._steps[num_steps] = compiled
        return self._steps[num_steps]

    def validate(self, state: TrainState) -> float | None:
        """The PSNR of held-out rays in dB; None without held-out images."""
        if self.held_out is None:
            return None
        return float(psnr(self._error(state.params, state.aux, self.held_out)))

    def steps_per_call(self, state: TrainState, whole: int) -> int:
        """The number of steps that take about a second, estimated from their arithmetic.

        It divides ``whole`` if a divisor is near: then no shorter last call is compiled.
        """
        # In a single pass, as the arithmetic of a loop's body is counted once.
        step: Any = self._make_steps(num_steps=1, num_passes=1)
        flops = (step.lower(state, self.dataset).cost_analysis() or {}).get("flops", 0.0)
        flops_per_second = 5e10 if _on_cpu() else 2e13
        estimate = int(np.clip(flops_per_second / max(flops, 1.0), 1, 100))
        divisors = (count for count in range(estimate, estimate // 2, -1) if whole % count == 0)
        return next(divisors, estimate)

    def _compile_rendering(self, state: TrainState) -> None:
        """Compile what validation and images are rendered by; JAX keeps it."""
        if not self._steps:
            count, split = self._rays_per_call(), NamedSharding(self.mesh, SPLIT)

            def shape(*size: int, dtype: Any = np.float32) -> Any:
                return jax.ShapeDtypeStruct(size, dtype, sharding=split)

            vector, number = shape(count, 3), shape(count)
            rays = Rays(vector, vector, number, number, number, shape(count, dtype=np.int32))
            render = rays_renderer(self.model.render, self.mesh)
            render.lower(state.params, state.aux, rays).compile()

    def _rays_per_call(self) -> int:
        """Of the validation, and of images too unless the config says otherwise."""
        return self.config.train.validation_rays or self.config.eval.rays_per_chunk

    def _make_steps(self, num_steps: int, num_passes: int) -> TrainSteps:
        rays = self.config.train.rays_per_step
        return make_train_steps(self.model, self.optimizer, self.mesh, rays, num_steps, num_passes)

    def _num_passes(self) -> int:
        settings = self.config.train
        share = split_evenly(settings.rays_per_step, self.mesh, "train.rays_per_step")
        # Where every sample is read, 128 rays suit a CPU's caches; a packed step is of one size.
        small = _on_cpu() and not self.config.model.is_sparse
        most = settings.rays_per_pass or (128 if small else share)
        return next(n for n in range(1, share + 1) if share % n == 0 and share // n <= most)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"
