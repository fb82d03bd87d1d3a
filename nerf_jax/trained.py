"""A run, opened again: a scene that has been learned, ready to be looked at from anywhere."""

from dataclasses import dataclass

from nerf_jax import model, poses
from nerf_jax.config import Config
from nerf_jax.devices import device_name, ray_mesh
from nerf_jax.fit import Clock
from nerf_jax.progress import say
from nerf_jax.render import ImageRenderer, image_renderer
from nerf_jax.runs import Run
from nerf_jax.setting import Setting
from nerf_jax.train import TrainState, init_state, make_optimizer
from nerf_jax.types import Cameras, RayTable, Rendering


@dataclass(frozen=True)
class Trained:
    """A learned scene, and where its photos were taken. No dataset is needed any more."""

    run: Run
    config: Config
    state: TrainState
    clock: Clock
    setting: Setting
    renderer: ImageRenderer

    def see(self, cameras: Cameras | RayTable, image: int, size_hw: tuple[int, int]) -> Rendering:
        """What one of some cameras sees, as NumPy arrays [H, W, ...]."""
        return self.renderer(self.state.params, self.state.aux, cameras, image, size_hw)

    def cameras(self) -> Cameras:
        """The training cameras, where they were learned to be if they were learned.

        Raises:
            ValueError: the scene was given by rays and has none.
        """
        if "train" not in self.setting.shots:
            raise ValueError(
                f"{self.run.folder}: trained on a ray dataset, which says nothing of cameras: "
                "there is no way to fly past them"
            )
        given = self.setting.shots["train"].cameras
        if not self.config.optimizer.pose_learning_rate:
            return given
        return poses.moved(self.state.params["poses"], given)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the photos that were learned from."""
        return self.setting.shots["train"].size_hw


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
    method = model.build(config)
    blank = init_state(method, make_optimizer(config.optimizer), 0, ray_mesh())
    checkpoints = run.checkpoints
    state = checkpoints.restore(blank)
    clock = Clock(**checkpoints.about()["clock"])
    checkpoints.close()
    say(f"run {run.folder} at step {int(state.step)}, on {device_name()}")
    setting = Setting.load(run.setting_file)
    renderer = image_renderer(method.render, config.eval.rays_per_chunk)
    return Trained(run, config, state, clock, setting, renderer)
