"""How training goes, and the button that halts it: the same for all visitors."""

import time
from collections.abc import Callable

import viser

from nerf_jax.app.fit import TrainingStatus
from nerf_jax.app.progress import say
from nerf_jax.app.viewer.scene_state import Learning

_EVERY = 0.5
"""Seconds between two words of it."""


class Training:
    """The part of the page that tells of it.

    Args:
        gui: of all visitors.
        learning: training.
        anyone: whether there is anybody to tell.
    """

    def __init__(self, gui: viser.GuiApi, learning: Learning, anyone: Callable[[], bool]) -> None:
        self._learning, self._anyone, self._told_at = learning, anyone, 0.0
        with gui.add_folder("Training", order=-1):
            self._told = gui.add_markdown("It is being compiled.")
            self._progress = gui.add_progress_bar(0.0)
            self.button = gui.add_button("Pause")
        self.button.on_click(lambda event: self._press())
        learning.tell = self._tell

    def _press(self) -> None:
        paused = not self._learning.paused
        self._learning.pause(paused)
        self.button.label = "Go on" if paused else "Pause"
        say("paused in the viewer" if paused else "going on")

    def _tell(self, glimpse: TrainingStatus) -> None:
        now = time.monotonic()
        is_news = self._anyone() and now - self._told_at >= _EVERY
        if self._learning.running and not is_news:
            return
        self._told_at = now
        self._told.content = told(glimpse)
        self._progress.value = 100 * glimpse.step / glimpse.num_steps
        self.button.visible = self._learning.running


def told(glimpse: TrainingStatus) -> str:
    """How far training is and how well it does, for people."""
    text = f"Step {glimpse.step} of {glimpse.num_steps}"
    scores = {"PSNR": glimpse.psnr, "held out": glimpse.val_psnr}
    return ", ".join(
        [text, *(f"{name} {score:.2f} dB" for name, score in scores.items() if score is not None)]
    )
