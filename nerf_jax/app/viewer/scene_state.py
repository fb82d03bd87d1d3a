"""The displayed scene: of a finished run, or of the training in progress."""

import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp

from nerf_jax.app.fit import TrainingStatus
from nerf_jax.app.trained import Trained
from nerf_jax.app.viewer.viewpoints import Photos
from nerf_jax.train import TrainState


class SceneState:
    """The displayed scene, shared by all clients; listeners are called when it is replaced."""

    def __init__(self, photos: Photos, scene: Trained | None = None) -> None:
        self.photos = photos
        self.scene = scene
        """None until training provides one."""
        self.version = 0
        self.listeners: set[Callable[[], None]] = set()

    @property
    def is_training(self) -> bool:
        """Whether training changes the scene."""
        return False

    def update(self, scene: Trained) -> None:
        """Display another scene."""
        self.scene, self.version = scene, self.version + 1
        for listener in tuple(self.listeners):
            listener()

    def request_update(self) -> None:
        """Ask for a newer scene, which only training has."""


class LiveTraining(SceneState):
    """The scene in training, as a callback of :func:`nerf_jax.app.fit.fit`.

    The next training call overwrites the training state, so a copy is displayed. It is made only
    when a client requests it; ``make_scene`` then returns the scene of the copied state.
    """

    def __init__(self, photos: Photos, make_scene: Callable[[TrainState], Trained]) -> None:
        super().__init__(photos)
        self.paused, self.finished = False, False
        self.on_status: Callable[[TrainingStatus], None] = lambda status: None
        self._make_scene = make_scene
        self._last_status: TrainingStatus | None = None
        self._requested = threading.Event()

    @property
    def is_training(self) -> bool:
        return not (self.paused or self.finished)

    def request_update(self) -> None:
        """Ask for a copy of the scene after the current training call."""
        self._requested.set()

    def pause(self, paused: bool) -> None:
        """Pause after the current training call, whose scene is then displayed, or continue."""
        self.paused = paused
        self.request_update()

    def __call__(self, status: TrainingStatus) -> bool:
        """Report the status, copy the scene if requested, return whether to continue."""
        self._last_status = status
        self.on_status(status)
        if self._requested.is_set():
            self._requested.clear()
            state = status.state._replace(opt_state=())  # not needed for rendering
            self.update(self._make_scene(jax.tree.map(jnp.copy, state)))
        return not self.paused

    def finish(self, state: TrainState) -> None:
        """Display the final state, which nothing overwrites."""
        self.finished, self.paused = True, False
        if self._last_status:
            self.on_status(self._last_status)
        self.update(self._make_scene(state))
