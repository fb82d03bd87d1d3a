"""A trained scene: opened from the folder of a run, or made of a state in memory."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import NamedSharding

from nerf_jax import methods
from nerf_jax.app import report
from nerf_jax.app.images import to_uint8
from nerf_jax.app.progress import duration, say
from nerf_jax.app.runs import Clock, Run, clock_and_photos, new_run
from nerf_jax.app.scene_cameras import SceneCameras, SplitCameras
from nerf_jax.cameras import resize
from nerf_jax.config import Config
from nerf_jax.devices import REPLICATED, device_name, ray_mesh
from nerf_jax.render import ImageRenderer, image_renderer
from nerf_jax.train import TrainState, init_state
from nerf_jax.types import Cameras, Dataset, Model, RayTable, Rendering

PREVIEW_SIDE = 128
"""Pixels of the longer side of the picture in a notebook, which a laptop renders in seconds."""


@dataclass(frozen=True, repr=False)
class Trained:
    """A trained scene and the cameras of its photos. It needs no dataset."""

    run: Run
    config: Config
    model: Model
    state: TrainState
    clock: Clock
    all_cameras: SceneCameras
    renderer: ImageRenderer

    @staticmethod
    def of(
        config: Config,
        state: TrainState,
        all_cameras: SceneCameras,
        clock: Clock | None = None,
        run: Run | None = None,
    ) -> "Trained":
        """A trained scene of a state in memory.

        Args:
            config: of the method that the state belongs to.
            state: such as a notebook has just trained.
            all_cameras: of its photos, ``SceneCameras.of(scene, splits)``.
            clock: the training time.
            run: the folder of its files; if None, one under ``outputs/``, which is created when
                the first file is written.
        """
        model = methods.build(config)
        renderer = image_renderer(model.render, config.eval.rays_per_chunk)
        run = new_run(config.name) if run is None else run
        return Trained(run, config, model, state, clock or Clock(), all_cameras, renderer)

    def render(
        self, cameras: Cameras | RayTable, image: int, size_hw: tuple[int, int]
    ) -> Rendering:
        """The rendering of one of the cameras, as NumPy arrays [H, W, ...]."""
        return self.renderer(self.state.params, self.state.aux, cameras, image, size_hw)

    def cameras(self) -> Cameras:
        """The training cameras, with their learned poses if the run learned them.

        Raises:
            ValueError: the scene was trained on a ray dataset, which has no cameras.
        """
        return self.model.cameras(self.state.params, self._train_split().cameras)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the training photos; raises as :meth:`cameras` does."""
        return self._train_split().size_hw

    def _train_split(self) -> SplitCameras:
        if "train" not in self.all_cameras.splits:
            raise ValueError(
                f"{self.run.folder}: trained on a ray dataset, which has no cameras, so that there "
                "are no viewpoints to start from"
            )
        return self.all_cameras.splits["train"]

    def __repr__(self) -> str:
        return f"Trained({str(self.run.folder)!r}, step {int(self.state.step)})"

    def _repr_html_(self) -> str:
        """The scores and one evaluated view if this state was evaluated, else a new rendering."""
        step = int(self.state.step)
        if self.run.results_file.is_file() and self.run.results().get("steps") == step:
            return report.card_of(report.read(self.run))
        facts = {"steps": f"{step:,}", "training": duration(self.clock.train_seconds)}
        pictures = {}
        if "train" in self.all_cameras.splits:
            factor = min(1.0, PREVIEW_SIDE / max(self.size_hw))
            height, width = (max(1, round(factor * side)) for side in self.size_hw)
            rendering = self.render(resize(self.cameras(), factor), 0, (height, width))
            label = f"as from {self._train_split().names[0]}"
            pictures[label] = to_uint8(np.asarray(rendering.rgb))
        return report.card(self.config.name, pictures, facts)


def load(run: Run, config: Config | None = None) -> Trained:
    """Open a run at its newest checkpoint.

    Args:
        run: its folder.
        config: the run's own, with changes outside of the method.

    Raises:
        OSError: there is no run, or no checkpoint.
        ValueError: one of its files is damaged.
    """
    config = run.config() if config is None else config
    checkpoints = run.checkpoints
    clock, num_photos = checkpoints.metadata(clock_and_photos)
    all_cameras = SceneCameras.load(run.setting_file)
    if "train" in all_cameras.splits:
        _, cameras, (height, width), _ = all_cameras.splits["train"]
        photos = Dataset(cameras, np.zeros((len(cameras.near), height, width, 0), np.uint8))
    else:
        photos = _empty_ray_dataset(num_photos)
    mesh = ray_mesh()
    model, optimizer = methods.build(config), methods.make_optimizer(config.optimizer)
    shapes = jax.eval_shape(lambda: init_state(model, optimizer, photos, mesh))
    state = jax.device_put(checkpoints.restore(shapes), NamedSharding(mesh, REPLICATED))
    checkpoints.close()
    say(f"run {run.folder} at step {int(state.step)}, on {device_name()}")
    renderer = image_renderer(model.render, config.eval.rays_per_chunk)
    return Trained(run, config, model, state, clock, all_cameras, renderer)


def _empty_ray_dataset(num_photos: int) -> Dataset:
    """A dataset without rays: the shapes of parameters depend on the number of photos alone."""
    rays, ends = np.zeros((num_photos, 0, 0, 3), np.float32), np.ones(num_photos, np.float32)
    return Dataset(RayTable(rays, rays, ends, ends), np.zeros((num_photos, 0, 0, 0), np.uint8))
