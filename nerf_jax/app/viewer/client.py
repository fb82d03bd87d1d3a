"""One client: its picture, its scene tree, its panels, and the actions of its buttons."""

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
from nerf_jax.app.viewer.controls import Controls, slider_fov
from nerf_jax.app.viewer.picture import MAX_DEPTH, Crop, DisplayOptions, Picture, ViewRenderer
from nerf_jax.app.viewer.render_loop import RenderedView, RenderLoop, Request
from nerf_jax.app.viewer.scene_state import LiveTraining, SceneState
from nerf_jax.app.viewer.scene_tree import OPENCV, SceneTree
from nerf_jax.app.viewer.viewpoints import Viewpoint, cameras_along, viewpoints_along

_PHOTO_SIDE = 256
_PREVIEW_FPS = 15


class Client:
    """A browser that has the page open; ``handle`` is viser's."""

    def __init__(
        self,
        handle: viser.ClientHandle,
        scene_state: SceneState,
        renderer: ViewRenderer,
        crop_limits: Crop,
    ) -> None:
        self._handle, self._state, self._renderer = handle, scene_state, renderer
        self._closed = False
        self._nearest = -1
        self.scene_tree = SceneTree(handle.scene, scene_state.photos)
        self.keys: list[Viewpoint] = []
        initial = scene_state.photos.initial_viewpoint()
        self.controls = Controls(
            handle.gui,
            fov_degrees=float(np.degrees(initial.fov_radians)),
            crop_limits=crop_limits,
            live=isinstance(scene_state, LiveTraining),
            on_change=lambda: self.render_loop.notify(),
        )
        self.jobs = jobs.Jobs(self._show_job, self.show_error)
        self.render_loop = RenderLoop(scene_state, renderer, self)
        self._connect_controls()
        handle.camera.on_update(lambda camera: self.render_loop.notify())
        self.render_loop.start()

    def close(self) -> None:
        """Stop rendering after the page was closed. A running job is finished."""
        self._closed = True
        self.render_loop.close()

    def show_error(self, error: Exception) -> None:
        """Show an error in the page."""
        if os.environ.get("NERF_JAX_TRACEBACK"):
            traceback.print_exception(error)
        if not self._closed:
            text = str(error) or type(error).__name__
            self._handle.add_notification("Error", text, color="red", auto_close_seconds=20.0)

    # The picture.

    def viewpoint(self) -> Viewpoint:
        camera = self._handle.camera
        rotation = SO3(camera.wxyz).as_matrix() @ OPENCV
        pose = np.concatenate([rotation, camera.position[:, None]], axis=1)
        return Viewpoint(pose, camera.fov, camera.aspect)

    def request(self) -> Request:
        return Request(self.viewpoint(), self.controls.resolution.value, self.controls.box)

    def options(self) -> DisplayOptions:
        has_objects = self.controls.cameras.value or self.controls.crop.value or bool(self.keys)
        # In larger scenes viser's depth range would clip everything.
        depth = has_objects and 4 * self._state.photos.focus_distance < MAX_DEPTH
        return replace(self.controls.options, depth=depth)

    def follows_training(self) -> bool:
        return self.controls.follow.value

    def show(self, view: RenderedView, picture: Picture) -> None:
        """Show a rendered view, and the objects and the photo that belong to it."""
        if self._closed:
            return
        quality, viewpoint = 95 if view.is_final else 75, view.request.viewpoint
        self._handle.scene.set_background_image(
            picture.pixels, "jpeg", jpeg_quality=quality, depth=picture.depth
        )
        nearest = self._state.photos.nearest(viewpoint)
        if nearest != self._nearest:
            self._nearest = nearest
            self.controls.nearest.content = f"Nearest: {self._state.photos.names[nearest]}"
            self.update_photo()
        self.scene_tree.show_crop(self.controls.box)
        self.scene_tree.show_cameras(self.controls.cameras.value, viewpoint)
        if view.is_final:
            height, width = picture.pixels.shape[:2]
            text = f"Step {view.step}. {width} x {height} pixels in {view.seconds:.2f} s."
            if picture.scale:
                near, far = picture.scale
                text += f" Red is at distance {near:.3g}, blue at {far:.3g}."
            self.controls.status.content = text

    def update_photo(self) -> None:
        """Show the nearest photo once the photos have been read."""
        if self._nearest >= 0 and not self._closed:
            photo = self._state.photos.thumbnail(self._nearest, _PHOTO_SIDE)
            if photo is not None:
                self.controls.photo.image, self.controls.photo.visible = photo, True

    def _show_job(self, text: str, percent: float | None) -> None:
        if not self._closed:
            self.controls.job_text.content = text
            self.controls.progress.visible = percent is not None
            self.controls.progress.value = percent or 0.0

    # The controls.

    def move_to(self, viewpoint: Viewpoint) -> None:
        """Move the camera to a viewpoint."""
        camera, up = self._handle.camera, np.array([0.0, 0.0, 1.0])
        # The orbit's axis stays z unless the viewpoint is tilted or vertical.
        if abs(viewpoint.world_from_camera[:, 0] @ up) > 0.03 or abs(viewpoint.forward @ up) > 0.99:
            up = viewpoint.world_from_camera[:, 1]
        with self._handle.atomic():
            camera.up_direction = up
            camera.position = viewpoint.origin
            camera.look_at = self._state.photos.orbit_center(viewpoint)
            camera.fov = viewpoint.fov_radians
        self.controls.fov.value = slider_fov(np.degrees(viewpoint.fov_radians))
        self.render_loop.notify()  # the page does not report a movement too small to see

    def _connect_controls(self) -> None:
        controls, start = self.controls, self.jobs.start
        controls.fov.on_update(self._reporting_errors(self._set_fov))
        for button, action in (
            (controls.go_to_photo, self._move_to_nearest_photo),
            (controls.add_key, lambda: self._set_keys([*self.keys, self.viewpoint()])),
            (controls.drop_key, lambda: self._set_keys(self.keys[:-1])),
            (controls.preview, lambda: start("Preview", self._preview)),
            (controls.video, lambda: start("Film", self._save_video)),
            (controls.still, lambda: start("Picture", self._save_still)),
            (controls.mesh, lambda: start("Mesh", self._save_mesh)),
        ):
            button.on_click(self._reporting_errors(action))

    def _reporting_errors(self, action: Callable[[], None]) -> Callable[[viser.GuiEvent], None]:
        def handler(event: viser.GuiEvent) -> None:
            try:
                action()
            except Exception as error:  # viser would print it in the terminal only
                self.show_error(error)

        return handler

    def _set_fov(self) -> None:
        camera, degrees = self._handle.camera, self.controls.fov.value
        if slider_fov(np.degrees(camera.fov)) != degrees:  # else the slider followed the camera
            camera.fov = float(np.radians(degrees))

    def _move_to_nearest_photo(self) -> None:
        photos = self._state.photos
        self.move_to(photos.viewpoint(photos.nearest(self.viewpoint())))

    def _set_keys(self, keys: list[Viewpoint]) -> None:
        self.keys = keys
        count = f"{len(keys)} key frame{'s' if len(keys) > 1 else ''}"
        self.controls.key_text.content = f"{count}." if keys else "No key frames yet."
        self.scene_tree.show_keys(keys)
        self.render_loop.notify()

    # The jobs.

    def _scene(self) -> Trained:
        if self._state.scene is None:
            raise ValueError("there is no trained scene yet: wait for the first picture")
        return self._state.scene

    def _path(self, fps: float, min_frames: int = 0) -> list[Viewpoint]:
        if len(self.keys) < 2:
            raise ValueError(
                f"a video needs at least two key frames, but there are {len(self.keys)}: "
                'move the camera and press "Add this view"'
            )
        num_frames = max(min_frames, round(self.controls.seconds.value * fps))
        return viewpoints_along(self.keys, num_frames)

    def _preview(self, progress: jobs.ProgressCallback) -> list[Path]:
        path = self._path(_PREVIEW_FPS)
        for index, viewpoint in enumerate(path):
            if self._closed:
                break
            self.move_to(viewpoint)
            progress("frame", index + 1, len(path))
            time.sleep(1 / _PREVIEW_FPS)
        return []

    def _save_video(self, progress: jobs.ProgressCallback) -> list[Path]:
        scene, fps = self._scene(), self.controls.fps.value
        path, keys = self._path(fps, min_frames=2), self.keys
        nears, fars = zip(*(self._state.photos.bounds(key.origin) for key in keys), strict=True)
        size_hw = self.viewpoint().image_size(self.controls.resolution.value)
        cameras = cameras_along(path, size_hw, (min(nears), max(fars)))
        return jobs.save_video(scene, cameras, size_hw, fps, progress)

    def _save_still(self, progress: jobs.ProgressCallback) -> list[Path]:
        scene, (viewpoint, resolution, crop) = self._scene(), self.request()
        size_hw = viewpoint.image_size(resolution)
        camera = viewpoint.camera(size_hw, self._state.photos.bounds(viewpoint.origin))
        rendering = self._renderer.render(scene, camera, size_hw, crop)
        assert rendering is not None
        picture = self._renderer.picture(rendering, camera, self.options())
        return jobs.save_still(scene.run.folder, picture.pixels)

    def _save_mesh(self, progress: jobs.ProgressCallback) -> list[Path]:
        return jobs.save_mesh(self._scene(), self.controls.box, progress)
