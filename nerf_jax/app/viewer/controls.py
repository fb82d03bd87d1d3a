"""The panels of the page: display options, crop box, camera path, buttons, training progress."""

import time
from collections.abc import Callable

import numpy as np
import viser

from nerf_jax.app.fit import TrainingStatus
from nerf_jax.app.progress import say
from nerf_jax.app.viewer.picture import QUANTITIES, WHITE, Crop, DisplayOptions, Rgb
from nerf_jax.app.viewer.scene_state import LiveTraining

BACKGROUNDS: dict[str, Rgb | None] = {"White": WHITE, "Black": (0.0, 0.0, 0.0), "Colour": None}
_WIDTH = 280
_TRAINING_INTERVAL = 0.5  # seconds between updates of the training panel


class Controls:
    """The panels of one client; ``on_change`` is called when the picture may have to change."""

    def __init__(
        self,
        gui: viser.GuiApi,
        *,
        fov_degrees: float,
        crop_limits: Crop,
        live: bool,
        on_change: Callable[[], None],
    ) -> None:
        self.status = gui.add_markdown("Waiting for the first picture.")
        with gui.add_folder("Picture"):
            self._add_picture(gui, fov_degrees, live)
        with gui.add_folder("Crop box", expand_by_default=False):
            self.crop = gui.add_checkbox("Only what is within", initial_value=False)
            self.sides = [
                gui.add_multi_slider(axis, low, high, (high - low) / 200, (low, high))
                for axis, low, high in zip("xyz", *crop_limits, strict=True)
            ]
        self.cameras = gui.add_checkbox("Show the cameras", initial_value=True)
        with gui.add_folder("Film", expand_by_default=False):
            self._add_video(gui)
        with gui.add_folder("Save"):
            self.still = gui.add_button("Picture", icon=viser.Icon.CAMERA)
            self.mesh = gui.add_button("Mesh", icon=viser.Icon.BOX)
        self.progress = gui.add_progress_bar(0.0, visible=False)
        self.job_text = gui.add_markdown("")
        # A panel of its own on the left shows the photo next to the picture.
        panel = gui.add_panel()
        with panel.add_tab("Nearest photo", viser.Icon.PHOTO):
            self.nearest = gui.add_markdown("")
            self.photo = gui.add_image(np.full((1, 1, 3), 255, np.uint8), visible=False)
            self.go_to_photo = gui.add_button("Look from there", icon=viser.Icon.FOCUS_2)
        panel.dock_left()
        gui.main_panel.dock_right()
        panel.set_width(_WIDTH)
        gui.main_panel.set_width(_WIDTH)
        options = self.show, self.resolution, self.background, self.color, self.follow, self.cameras
        for handle in (*options, self.crop, *self.sides):
            handle.on_update(lambda event: on_change())

    def _add_picture(self, gui: viser.GuiApi, fov_degrees: float, live: bool) -> None:
        self.show = gui.add_dropdown("Show", QUANTITIES)
        hint = "Pixels along the longer side"
        self.resolution = gui.add_slider("Resolution", 64, 1600, 16, 512, hint=hint)
        fov_degrees = slider_fov(fov_degrees)
        self.fov = gui.add_slider("Field of view", 5.0, 150.0, 0.1, fov_degrees, hint="Degrees")
        self.background = gui.add_dropdown("Background", tuple(BACKGROUNDS))
        self.color = gui.add_rgb("Colour", (128, 160, 200), visible=False)
        hint = "Updates take about 3 % of the training time"
        self.follow = gui.add_checkbox("Follow the training", True, visible=live, hint=hint)

        @self.background.on_update
        def show_color(event: viser.GuiEvent) -> None:
            self.color.visible = BACKGROUNDS[self.background.value] is None

    def _add_video(self, gui: viser.GuiApi) -> None:
        self.key_text = gui.add_markdown("No key frames yet.")
        self.add_key = gui.add_button("Add this view", icon=viser.Icon.PLUS)
        self.drop_key = gui.add_button("Drop the last one", icon=viser.Icon.MINUS)
        self.seconds = gui.add_number("Seconds", 4.0, min=0.1, max=600.0, step=0.5)
        self.fps = gui.add_number("Frames a second", 15.0, min=1.0, max=120.0, step=1.0)
        self.preview = gui.add_button("Preview", icon=viser.Icon.PLAYER_PLAY)
        self.video = gui.add_button("Film it", icon=viser.Icon.MOVIE)

    @property
    def options(self) -> DisplayOptions:
        """The chosen quantity and background."""
        red, green, blue = self.color.value
        background = BACKGROUNDS[self.background.value] or (red / 255, green / 255, blue / 255)
        return DisplayOptions(self.show.value, background)

    @property
    def box(self) -> Crop | None:
        """The crop box; None if it is off."""
        if not self.crop.value:
            return None
        (x0, x1), (y0, y1), (z0, z1) = (side.value for side in self.sides)
        return (x0, y0, z0), (x1, y1, z1)


def slider_fov(fov_degrees: float) -> float:
    """A field of view, rounded and clipped to the values of its slider."""
    return round(float(np.clip(fov_degrees, 5.0, 150.0)), 1)


class TrainingPanel:
    """Training progress and the pause button, shared by all clients."""

    def __init__(
        self, gui: viser.GuiApi, training: LiveTraining, has_clients: Callable[[], bool]
    ) -> None:
        self._training, self._has_clients, self._updated_at = training, has_clients, 0.0
        with gui.add_folder("Training", order=-1):
            self._text = gui.add_markdown("Compiling.")
            self._progress = gui.add_progress_bar(0.0)
            self.button = gui.add_button("Pause")
        self.button.on_click(lambda event: self._toggle())
        training.on_status = self._update

    def _toggle(self) -> None:
        paused = not self._training.paused
        self._training.pause(paused)
        self.button.label = "Go on" if paused else "Pause"
        say("training paused in the viewer" if paused else "training continues")

    def _update(self, status: TrainingStatus) -> None:
        now, finished = time.monotonic(), self._training.finished
        is_due = self._has_clients() and now - self._updated_at >= _TRAINING_INTERVAL
        if is_due or finished:
            self._updated_at = now
            self._text.content = format_status(status)
            self._progress.value = 100 * status.step / status.num_steps
            self.button.visible = not finished


def format_status(status: TrainingStatus) -> str:
    """The step and the PSNR of training and held-out rays."""
    scores = ("PSNR", status.psnr), ("held out", status.val_psnr)
    known = [f"{name} {score:.2f} dB" for name, score in scores if score is not None]
    return ", ".join([f"Step {status.step} of {status.num_steps}", *known])
