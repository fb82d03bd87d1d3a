"""The scene as visitors see it: a run's, or what training has made of it so far."""

import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp

from nerf_jax.app.fit import TrainingStatus
from nerf_jax.app.trained import Trained
from nerf_jax.train import TrainState


class Stage:
    """One scene at a time; whoever looks on is told when it is another."""

    def __init__(self, scene: Trained | None = None) -> None:
        self.scene = scene
        """None: there is nothing to see yet."""
        self.version = 0
        self.onlookers: set[Callable[[], None]] = set()

    def put(self, scene: Trained) -> None:
        """Show another scene."""
        self.scene, self.version = scene, self.version + 1
        self.tell()

    def tell(self) -> None:
        """That something is to be looked at anew."""
        for onlooker in tuple(self.onlookers):
            onlooker()


class Learning:
    """Training, as it is looked on: the ``callback`` of :func:`nerf_jax.app.fit.fit`.

    Training's next call overwrites the state that it shows, so what visitors see is a copy; it is
    made when one of them asks for it, and else nothing is done at all.

    Args:
        stage: where copies are shown.
        reopen: a scene of a state.
    """

    def __init__(self, stage: Stage, reopen: Callable[[TrainState], Trained]) -> None:
        self.stage = stage
        self.paused = False
        self.running = True
        self.tell: Callable[[TrainingStatus], None] = lambda glimpse: None
        self._reopen = reopen
        self._last: TrainingStatus | None = None
        self._wanted = threading.Event()

    def ask(self) -> None:
        """For the scene as it is after the call in hand."""
        self._wanted.set()

    def pause(self, paused: bool) -> None:
        """Halt after the call in hand, or go on. Who looks on sees what there is then."""
        self.paused = paused
        self.ask()

    def __call__(self, glimpse: TrainingStatus) -> bool:
        """Look, and say whether to go on."""
        self._last = glimpse
        self.tell(glimpse)
        if self._wanted.is_set():
            self._wanted.clear()
            kept = glimpse.state._replace(opt_state=())  # the rest is what rendering needs
            self.stage.put(self._reopen(jax.tree.map(jnp.copy, kept)))
        return not self.paused

    def finish(self, state: TrainState) -> None:
        """Show what was learned in the end: nothing overwrites that."""
        self.running = self.paused = False
        if self._last:
            self.tell(self._last)
        self.stage.put(self._reopen(state))
