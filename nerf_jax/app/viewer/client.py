"""One visitor: what their page shows, and what its buttons do."""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import viser
from viser.transforms import SO3

from nerf_jax.app.trained import Trained
from nerf_jax.app.viewer import jobs
from nerf_jax.app.viewer.controls import Controls, rounded
from nerf_jax.app.viewer.keyframes import cameras_along, views_along
from nerf_jax.app.viewer.photos import Photos
from nerf_jax.app.viewer.picture import DEEPEST, Look, Picture, View, camera_of, paint, size_of
from nerf_jax.app.viewer.render_loop import Drawing, Drawn, Wish
from nerf_jax.app.viewer.scene_state import Learning, Stage
from nerf_jax.app.viewer.scene_tree import OPENCV, Beside
from nerf_jax.app.viewer.view_renderer import Crop, Eye, box_of

_PHOTO_SIDE = 256
_PREVIEW_FPS = 15


class Visitor:
    """Somebody with the page open.

    Args:
        client: theirs.
        stage: the scene.
        eye: sees it.
        photos: the training photos.
        extent: how far the crop box may reach.
        learning: training, if it goes on.
    """

    def __init__(
        self,
        client: viser.ClientHandle,
        stage: Stage,
        eye: Eye,
        photos: Photos,
        extent: Crop,
        learning: Learning | None,
    ) -> None:
        self._client, self._stage, self._eye = client, stage, eye
        self.photos = photos
        self._gone = False
        self._nearest = -1
        self.beside = Beside(client.scene, photos)
        self.keys: list[View] = []
        self.controls = Controls(
            client.gui,
            fov_degrees=float(np.degrees(photos.typical().fov_radians)),
            extent=extent,
            learning=learning is not None,
            stir=lambda: self.drawing.stir(),
        )
        self.works = jobs.Works(self._show_work, self.complain)
        self.drawing = Drawing(
            stage,
            eye,
            photos,
            learning,
            wish=self._wish,
            look=self._look,
            follow=lambda: self.controls.follow.value,
            show=self._show,
            complain=self.complain,
        )
        self._connect_buttons()
        client.camera.on_update(lambda camera: self.drawing.stir())
        self.drawing.start()

    def leave(self) -> None:
        """The page was closed. What is being made is finished all the same."""
        self._gone = True
        self.drawing.end()

    def complain(self, error: Exception) -> None:
        """Tell an error where it is seen: in the page."""
        if os.environ.get("NERF_JAX_TRACEBACK"):
            traceback.print_exception(error)
        if not self._gone:
            text = str(error) or type(error).__name__
            self._client.add_notification(
                "That did not work", text, color="red", auto_close_seconds=20.0
            )

    # What they see.

    def view(self) -> View:
        """Where they look from."""
        camera = self._client.camera
        rotation = SO3(camera.wxyz).as_matrix() @ OPENCV
        pose = np.concatenate([rotation, camera.position[:, None]], axis=1)
        return View(pose, camera.fov, camera.aspect)

    def _wish(self) -> Wish:
        return Wish(self.view(), self.controls.resolution.value, self.controls.box)

    def _look(self) -> Look:
        drawn = self.controls.cameras.value or self.controls.crop.value or bool(self.keys)
        # In larger scenes all of it would be behind what viser takes for the farthest.
        return replace(self.controls.look, depth=drawn and 4 * self.photos.reach < DEEPEST)

    def _show(self, drawn: Drawn, picture: Picture) -> None:
        if self._gone:
            return
        quality = 95 if drawn.is_final else 75
        self._client.scene.set_background_image(
            picture.pixels, "jpeg", jpeg_quality=quality, depth=picture.depth
        )
        self._compare(drawn.wish.view)
        self.beside.show_crop(self.controls.box)
        self.beside.show_cameras(self.controls.cameras.value, drawn.wish.view)
        if drawn.is_final:
            height, width = picture.pixels.shape[:2]
            told = f"Step {drawn.step}. {width} x {height} pixels in {drawn.seconds:.2f} s."
            if picture.scale:
                near, far = picture.scale
                told += f" Red is {near:.3g} away, blue {far:.3g}."
            self.controls.status.content = told

    def _compare(self, view: View) -> None:
        """The photo taken nearest to a view."""
        nearest = self.photos.nearest(view)
        if nearest != self._nearest:
            self._nearest = nearest
            self.controls.nearest.content = f"Nearest: {self.photos.names[nearest]}"
            self.compare_again()

    def compare_again(self) -> None:
        """Show the nearest photo, which may have been read only now."""
        photo = self.photos.picture(self._nearest, _PHOTO_SIDE) if self._nearest >= 0 else None
        if photo is not None and not self._gone:
            self.controls.photo.image, self.controls.photo.visible = photo, True

    # Where they go.

    def go(self, view: View) -> None:
        """Look from somewhere else."""
        camera, up = self._client.camera, np.array([0.0, 0.0, 1.0])
        # Upright if the view is, so that turning goes on as before.
        if abs(view.world_from_camera[:, 0] @ up) > 0.03 or abs(view.ahead @ up) > 0.99:
            up = view.world_from_camera[:, 1]
        with self._client.atomic():
            camera.up_direction = up
            camera.position = view.origin
            camera.look_at = self.photos.pivot(view)
            camera.fov = view.fov_radians
        self.controls.fov.value = rounded(np.degrees(view.fov_radians))
        self.drawing.stir()  # the page answers a move, but not one too small to see

    def _go_to_nearest(self) -> None:
        self.go(self.photos.view(self.photos.nearest(self.view())))

    def _widen(self) -> None:
        camera, degrees = self._client.camera, self.controls.fov.value
        if rounded(np.degrees(camera.fov)) != degrees:  # else it is the slider that follows
            camera.fov = float(np.radians(degrees))

    # What they make.

    def _connect_buttons(self) -> None:
        controls = self.controls
        for button, act in (
            (controls.go_to_photo, self._go_to_nearest),
            (controls.add_key, lambda: self._change_keys([*self.keys, self.view()])),
            (controls.drop_key, lambda: self._change_keys(self.keys[:-1])),
            (controls.preview, lambda: self.works.begin("Preview", self._preview)),
            (controls.film, lambda: self.works.begin("Film", self._film)),
            (controls.still, lambda: self.works.begin("Picture", self._still)),
            (controls.mesh, lambda: self.works.begin("Mesh", self._mesh)),
        ):
            button.on_click(self._guarded(act))
        controls.fov.on_update(self._guarded(self._widen))

    def _guarded(self, act: Callable[[], None]) -> Callable[[viser.GuiEvent], None]:
        def acted(event: viser.GuiEvent) -> None:
            try:
                act()
            except Exception as error:  # a traceback in the terminal would tell nobody
                self.complain(error)

        return acted

    def _change_keys(self, keys: list[View]) -> None:
        self.keys = keys
        count = f"{len(keys)} key frame{'s' if len(keys) > 1 else ''}"
        self.controls.keys.content = f"{count}." if keys else "No key frames yet."
        self.beside.show_keys(keys)
        self.drawing.stir()

    def _scene(self) -> Trained:
        if self._stage.scene is None:
            raise ValueError("nothing has been learned yet: wait for the first picture")
        return self._stage.scene

    def _way(self) -> list[View]:
        if len(self.keys) < 2:
            raise ValueError(
                f"a film needs two key frames or more, and there are {len(self.keys)}: "
                'go somewhere and press "Add this view"'
            )
        return self.keys

    def _preview(self, tell: jobs.Tell) -> list[Path]:
        views = views_along(self._way(), round(self.controls.seconds.value * _PREVIEW_FPS))
        for number, view in enumerate(views):
            if self._gone:
                break
            self.go(view)
            tell("frame", number + 1, len(views))
            time.sleep(1 / _PREVIEW_FPS)
        return []

    def _film(self, tell: jobs.Tell) -> list[Path]:
        scene, fps = self._scene(), self.controls.fps.value
        keys, num_frames = self._way(), max(2, round(self.controls.seconds.value * fps))
        nears, fars = zip(*(self.photos.bounds(key.origin) for key in keys), strict=True)
        size_hw = size_of(self.view().aspect, self.controls.resolution.value)
        path = cameras_along(keys, num_frames, size_hw, (min(nears), max(fars)))
        return jobs.film_keys(scene, path, size_hw, fps, tell)

    def _still(self, tell: jobs.Tell) -> list[Path]:
        scene, wish, look = self._scene(), self._wish(), self._look()
        size_hw = size_of(wish.view.aspect, wish.resolution)
        camera = camera_of(wish.view, size_hw, self.photos.bounds(wish.view.origin))
        seen = self._eye.see(scene, camera, size_hw, box_of(wish.crop))
        assert seen is not None
        pixels = paint(seen, camera, self._eye.behind, look).pixels
        return [jobs.save_still(scene.run.folder, pixels)]

    def _mesh(self, tell: jobs.Tell) -> list[Path]:
        return jobs.mesh(self._scene(), self.controls.box, tell)

    def _show_work(self, text: str, percent: float | None) -> None:
        if self._gone:
            return
        self.controls.made.content = text
        self.controls.progress.visible = percent is not None
        self.controls.progress.value = percent or 0.0
