"""What a visitor may choose, and the buttons: the panel beside their picture."""

from collections.abc import Callable
from typing import cast

import numpy as np
import viser

from nerf_jax.app.viewer.picture import SHOWS, Look, Rgb, Show
from nerf_jax.app.viewer.view_renderer import Crop

BACKGROUNDS: dict[str, Rgb | None] = {
    "White": (1.0, 1.0, 1.0),
    "Black": (0.0, 0.0, 0.0),
    "Colour": None,
}


class Controls:
    """The panel of one visitor.

    Args:
        gui: the visitor's.
        fov_degrees: the field of view to begin with.
        extent: how far the crop box may reach.
        learning: whether the scene is being learned.
        stir: called when anything that is seen may have changed.
    """

    def __init__(
        self,
        gui: viser.GuiApi,
        *,
        fov_degrees: float,
        extent: Crop,
        learning: bool,
        stir: Callable[[], None],
    ) -> None:
        self.status = gui.add_markdown("Waiting for the first picture.")
        with gui.add_folder("Picture"):
            self._add_picture(gui, fov_degrees)
            self.follow = gui.add_checkbox(
                "Follow the training",
                initial_value=True,
                visible=learning,
                hint="A new picture as often as takes 3 % of the time",
            )
        with gui.add_folder("Crop box", expand_by_default=False):
            self._add_crop(gui, extent)
        self.cameras = gui.add_checkbox("Show the cameras", initial_value=True)
        with gui.add_folder("Film", expand_by_default=False):
            self._add_film(gui)
        with gui.add_folder("Save"):
            self.still = gui.add_button("Picture", icon=viser.Icon.CAMERA)
            self.mesh = gui.add_button("Mesh", icon=viser.Icon.BOX)
        self.progress = gui.add_progress_bar(0.0, visible=False)
        self.made = gui.add_markdown("")
        self._add_photos(gui)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(280)
        seen = (self.show, self.resolution, self.background, self.color, self.follow, self.cameras)
        for handle in (*seen, self.crop, *self.sides):
            handle.on_update(lambda event: stir())
        self.background.on_update(lambda event: self._offer_color())

    def _add_picture(self, gui: viser.GuiApi, fov_degrees: float) -> None:
        self.show = gui.add_dropdown("Show", SHOWS)
        self.resolution = gui.add_slider(
            "Resolution", 64, 1600, 16, 512, hint="Pixels along the longer side"
        )
        self.fov = gui.add_slider(
            "Field of view", 5.0, 150.0, 0.1, rounded(fov_degrees), hint="Degrees"
        )
        self.background = gui.add_dropdown("Background", tuple(BACKGROUNDS))
        self.color = gui.add_rgb("Colour", (128, 160, 200), visible=False)

    def _add_crop(self, gui: viser.GuiApi, extent: Crop) -> None:
        self.crop = gui.add_checkbox("Only what is within", initial_value=False)
        self.sides = [
            gui.add_multi_slider(axis, low, high, (high - low) / 200, (low, high))
            for axis, low, high in zip("xyz", *extent, strict=True)
        ]

    def _add_photos(self, gui: viser.GuiApi) -> None:
        """A panel of its own, so that photo and picture are side by side."""
        panel = gui.add_panel()
        with panel.add_tab("Nearest photo", viser.Icon.PHOTO):
            self.nearest = gui.add_markdown("")
            self.photo = gui.add_image(np.full((1, 1, 3), 255, np.uint8), visible=False)
            self.go_to_photo = gui.add_button("Look from there", icon=viser.Icon.FOCUS_2)
        panel.dock_left()
        panel.set_width(280)

    def _add_film(self, gui: viser.GuiApi) -> None:
        self.keys = gui.add_markdown("No key frames yet.")
        self.add_key = gui.add_button("Add this view", icon=viser.Icon.PLUS)
        self.drop_key = gui.add_button("Drop the last one", icon=viser.Icon.MINUS)
        self.seconds = gui.add_number("Seconds", 4.0, min=0.1, max=600.0, step=0.5)
        self.fps = gui.add_number("Frames a second", 15.0, min=1.0, max=120.0, step=1.0)
        self.preview = gui.add_button("Preview", icon=viser.Icon.PLAYER_PLAY)
        self.film = gui.add_button("Film it", icon=viser.Icon.MOVIE)

    def _offer_color(self) -> None:
        self.color.visible = BACKGROUNDS[self.background.value] is None

    @property
    def look(self) -> Look:
        """How what is seen is to be shown."""
        chosen = BACKGROUNDS[self.background.value]
        red, green, blue = self.color.value
        own = (red / 255, green / 255, blue / 255)
        return Look(cast(Show, self.show.value), own if chosen is None else chosen)

    @property
    def box(self) -> Crop | None:
        """All that is to be seen, if not everything is."""
        if not self.crop.value:
            return None
        (x0, x1), (y0, y1), (z0, z1) = (side.value for side in self.sides)
        return (x0, y0, z0), (x1, y1, z1)


def rounded(fov_degrees: float) -> float:
    """A field of view as the slider can have it."""
    return round(float(np.clip(fov_degrees, 5.0, 150.0)), 1)
