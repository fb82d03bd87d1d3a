"""A run, opened again: a scene that has been learned, ready to be looked at from anywhere."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import UInt8

from nerf_jax import methods
from nerf_jax.app import report
from nerf_jax.app.images import to_uint8
from nerf_jax.app.progress import duration, say
from nerf_jax.app.runs import Clock, Run, new_run
from nerf_jax.app.scene_cameras import SceneCameras, SplitCameras
from nerf_jax.cameras import resize
from nerf_jax.config import Config
from nerf_jax.devices import REPLICATED, device_name, ray_mesh
from nerf_jax.render import ImageRenderer, image_renderer
from nerf_jax.train import TrainState, init_state
from nerf_jax.types import Cameras, Dataset, Model, RayTable, Rendering

GLANCE_SIDE = 128
"""Of the picture in a notebook, in pixels: seen within a second or two on a laptop."""


@dataclass(frozen=True, repr=False)
class Trained:
    """A learned scene, and where its photos were taken. No dataset is needed any more."""

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
        """A state in memory as a scene to look at.

        Args:
            config: of the method that the state belongs to.
            state: such as a notebook has just trained.
            all_cameras: where its photos were taken, ``SceneCameras.of(scene, splits)``.
            clock: where the time went.
            run: where its files are, or are to go; a folder under ``outputs/`` that is not made
                before something is written if None.
        """
        method = methods.build(config)
        renderer = image_renderer(method.render, config.eval.rays_per_chunk)
        run = new_run(config.name) if run is None else run
        return Trained(run, config, method, state, clock or Clock(), all_cameras, renderer)

    def render(
        self, cameras: Cameras | RayTable, image: int, size_hw: tuple[int, int]
    ) -> Rendering:
        """What one of some cameras sees, as NumPy arrays [H, W, ...]."""
        return self.renderer(self.state.params, self.state.aux, cameras, image, size_hw)

    def cameras(self) -> Cameras:
        """The training cameras, where they were learned to be if they were learned.

        Raises:
            ValueError: the scene was given by rays and has none.
        """
        return self.model.cameras(self.state.params, self._shots().cameras)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the photos that were learned from; raises as :meth:`cameras` does."""
        return self._shots().size_hw

    def _shots(self) -> SplitCameras:
        if "train" not in self.all_cameras.splits:
            raise ValueError(
                f"{self.run.folder}: trained on a ray dataset, which says nothing of cameras: "
                "there is no way to fly past them"
            )
        return self.all_cameras.splits["train"]

    def __repr__(self) -> str:
        return f"Trained({str(self.run.folder)!r}, step {int(self.state.step)})"

    def _repr_html_(self) -> str:
        """In a notebook: the scores and a view of them if this state was scored, else a view."""
        step = int(self.state.step)
        if self.run.results_file.is_file() and self.run.results().get("steps") == step:
            return report.card_of(report.read(self.run))
        facts = {"steps": f"{step:,}", "training": duration(self.clock.train_seconds)}
        return report.card(self.config.name, self._glance(), facts)

    def _glance(self) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
        """What the first training camera sees, small, by the name of its photo."""
        if "train" not in self.all_cameras.splits:
            return {}
        factor = min(1.0, GLANCE_SIDE / max(self.size_hw))
        height, width = (max(1, round(factor * side)) for side in self.size_hw)
        seen = self.render(resize(self.cameras(), factor), 0, (height, width))
        return {
            f"as from {self.all_cameras.splits['train'].names[0]}": to_uint8(np.asarray(seen.rgb))
        }


def load(run: Run, config: Config | None = None) -> Trained:
    """Open a run at its newest checkpoint.

    Args:
        run: where it is.
        config: the run's own, where something else than the method was changed.

    Raises:
        OSError: no run is there, or no checkpoint.
        ValueError: a file of it is damaged.
    """
    config = run.config() if config is None else config
    all_cameras, checkpoints = SceneCameras.load(run.setting_file), run.checkpoints
    about = checkpoints.about()
    if "train" in all_cameras.splits:
        _, cameras, (height, width) = all_cameras.splits["train"]
        photos = Dataset(cameras, np.zeros((len(cameras.near), height, width, 0), np.uint8))
    else:
        photos = _ray_dataset(about.get("num_photos") or about["config"]["num_photos"])
    mesh = ray_mesh()
    model, optimizer = methods.build(config), methods.make_optimizer(config.optimizer)
    shapes = jax.eval_shape(lambda: init_state(model, optimizer, photos, mesh))
    state = jax.device_put(checkpoints.restore(shapes), NamedSharding(mesh, REPLICATED))
    checkpoints.close()
    say(f"run {run.folder} at step {int(state.step)}, on {device_name()}")
    renderer = image_renderer(model.render, config.eval.rays_per_chunk)
    return Trained(run, config, model, state, Clock(**about["clock"]), all_cameras, renderer)


def _ray_dataset(num_photos: int) -> Dataset:
    """One without rays: their number is all that the shapes of parameters depend on."""
    rays, ends = np.zeros((num_photos, 0, 0, 3), np.float32), np.ones(num_photos, np.float32)
    return Dataset(RayTable(rays, rays, ends, ends), np.zeros((num_photos, 0, 0, 0), np.uint8))
