"""The render thread of a client: coarse pictures while the camera moves, then finer ones."""

import functools
import threading
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol, runtime_checkable

from nerf_jax.app.trained import Trained
from nerf_jax.app.viewer.picture import Crop, DisplayOptions, Picture, ViewRenderer
from nerf_jax.app.viewer.scene_state import SceneState
from nerf_jax.app.viewer.viewpoints import Viewpoint
from nerf_jax.types import Cameras, Rendering

COARSE_SECONDS = 0.1  # for a picture in motion; transfer and display take as long again
STILL_SECONDS = 0.1  # without a movement, before finer pictures are rendered
FOLLOW_SHARE = 0.03  # the fraction of the training time that updates of a still view may take
FOLLOW_SECONDS = 0.5  # for such an update: at that share, one every 17 s
TRAINING_SECONDS = 1.5  # for any picture in training: at first slow to render, and soon outdated
_INITIAL_SECONDS_PER_RAY = 5e-5  # more than most scenes need: the first picture must not be late
_MIN_SIDE = 16  # the longer side of the coarsest picture


class Request(NamedTuple):
    """The view that a client requests."""

    viewpoint: Viewpoint
    resolution: int
    crop: Crop | None = None

    @property
    def key(self) -> Hashable:
        """Equal for equal requests."""
        return self.viewpoint.world_from_camera.tobytes(), self.viewpoint[1:], self[1:]


class RenderedView(NamedTuple):
    """The rendering of a request."""

    request: Request
    version: int
    """Of the scene state."""
    step: int
    camera: Cameras
    rendering: Rendering
    seconds: float
    is_final: bool = True
    """Whether no finer one follows."""


Render = Callable[[tuple[int, int], Callable[[], bool]], RenderedView | None]
"""Of ``(size_hw, keep_going)``; None if it was cancelled."""


class AdaptiveResolution:
    """Chooses image sizes by the measured rendering time per ray.

    ``slower`` and ``faster`` are the weights of measurements above and below the estimate. By
    default it rises at once: a late picture is more noticeable than a coarse one.
    """

    def __init__(self, slower: float = 1.0, faster: float = 0.3) -> None:
        self.seconds_per_ray = _INITIAL_SECONDS_PER_RAY
        self._slower, self._faster = slower, faster

    def record(self, num_rays: int, seconds: float) -> None:
        """Update the estimate with a measurement."""
        change = seconds / num_rays - self.seconds_per_ray
        self.seconds_per_ray += change * (self._slower if change > 0 else self._faster)

    def largest(self, full_hw: tuple[int, int], seconds: float) -> tuple[int, int]:
        """The largest size up to the full one that renders within the given time.

        In steps of the square root of 2, so that not every measurement changes it.
        """
        size_hw, steps = full_hw, 0
        while size_hw[0] * size_hw[1] * self.seconds_per_ray > seconds and max(size_hw) > _MIN_SIDE:
            steps += 1
            size_hw = _scaled(full_hw, 2 ** (-steps / 2))
        return size_hw


def next_size(size_hw: tuple[int, int], full_hw: tuple[int, int]) -> tuple[int, int] | None:
    """The next finer size, three times as large; None at the full size.

    All sizes before the last together take an eighth of its time.
    """
    scale = 3 * max(size_hw) / max(full_hw)
    if scale >= 3:
        return None
    return full_hw if scale > 0.6 else _scaled(full_hw, scale)


def _scaled(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side * scale)) for side in size_hw)
    return height, width


@runtime_checkable
class Display(Protocol):
    """The part of a client that its render loop calls, again and again."""

    def request(self) -> Request: ...
    def options(self) -> DisplayOptions: ...
    def follows_training(self) -> bool: ...
    def show(self, view: RenderedView, picture: Picture) -> None: ...
    def show_error(self, error: Exception) -> None: ...


class RenderLoop:
    """Renders a client's current request whenever it is notified of a possible change."""

    def __init__(self, scene_state: SceneState, renderer: ViewRenderer, client: Display) -> None:
        self._state, self._renderer, self._client = scene_state, renderer, client
        self._condition = threading.Condition()
        self._notified, self._update_requested, self._closed = True, False, False
        self._resolution = AdaptiveResolution()
        # No user waits for the updates during training.
        self._follow_resolution = AdaptiveResolution(slower=0.5, faster=0.5)
        self.last_view: RenderedView | None = None
        self.last_options: DisplayOptions | None = None
        self._next_update = 0.0
        self._thread = threading.Thread(target=self._run, name="render loop", daemon=True)

    def start(self) -> None:
        self._state.listeners.add(self.notify)
        self._thread.start()

    def notify(self) -> None:
        """Report a possible change of the request, the options or the scene."""
        with self._condition:
            self._notified = True
            self._condition.notify()

    def close(self) -> None:
        """Stop the thread."""
        self._state.listeners.discard(self.notify)
        with self._condition:
            self._closed = True
            self._condition.notify()

    def _run(self) -> None:
        while self._wait():
            try:
                self._update()
            except Exception as error:  # the thread must survive: the next request may succeed
                self._client.show_error(error)

    def _wait(self) -> bool:
        """Wait for a notification; False once the loop is closed."""
        with self._condition:
            while not (self._notified or self._closed):
                timeout = None
                follows = self._state.is_training and self._client.follows_training()
                if follows and not self._update_requested:
                    timeout = max(0.0, self._next_update - time.monotonic())
                if not self._condition.wait(timeout):
                    self._update_requested = True
                    self._state.request_update()
            self._notified = False
            return not self._closed

    def _update(self) -> None:
        scene, version, last = self._state.scene, self._state.version, self.last_view
        if scene is None:  # training has not begun; its first scene notifies this loop
            self._state.request_update()
            return
        self._renderer.warm_up(scene)
        request = self._client.request()
        render = functools.partial(self._render, scene, version, request)
        if last is None or last.request.key != request.key or not last.is_final:
            self._refine(request, render)
        elif last.version != version and (
            not self._state.is_training
            or (self._client.follows_training() and time.monotonic() >= self._next_update)
        ):
            self._follow_training(request, render)
        elif self.last_options != self._client.options():
            self._display(last)

    def _refine(self, request: Request, render: Render) -> None:
        """Render a new request, first within the time for coarse pictures, then finer."""
        full_hw, spent = request.viewpoint.image_size(request.resolution), 0.0
        size_hw: tuple[int, int] | None = self._resolution.largest(full_hw, COARSE_SECONDS)
        # The first is always finished: a camera that never rests would otherwise show nothing.
        is_first, keep_going = True, lambda: not self._closed
        while size_hw:
            view = render(size_hw, keep_going)
            if view is None:
                return
            if is_first:
                self._resolution.record(size_hw[0] * size_hw[1], view.seconds)
            limit_hw = full_hw
            if self._state.is_training:
                limit_hw = self._resolution.largest(full_hw, TRAINING_SECONDS)
            size_hw, spent = next_size(size_hw, limit_hw), spent + view.seconds
            self._display(view._replace(is_final=size_hw is None))
            if is_first and not self._stays_current(request):
                return
            is_first, keep_going = False, functools.partial(self._is_current, request)
        # Only updates of a still view are limited to a share of the time, not movements.
        self._schedule_update(min(spent, FOLLOW_SECONDS))

    def _follow_training(self, request: Request, render: Render) -> None:
        """Render a new training state for an unchanged request."""
        begun, size_hw = time.monotonic(), request.viewpoint.image_size(request.resolution)
        if self._state.is_training:
            size_hw = self._follow_resolution.largest(size_hw, FOLLOW_SECONDS)
        view = render(size_hw, functools.partial(self._is_current, request))
        if view:
            self._follow_resolution.record(size_hw[0] * size_hw[1], view.seconds)
            self._display(view)
            self._schedule_update(time.monotonic() - begun)

    def _schedule_update(self, spent: float) -> None:
        self._update_requested = False
        self._next_update = time.monotonic() + spent / FOLLOW_SHARE

    def _render(
        self,
        scene: Trained,
        version: int,
        request: Request,
        size_hw: tuple[int, int],
        keep_going: Callable[[], bool],
    ) -> RenderedView | None:
        """Render a request; None if it was cancelled."""
        begun, viewpoint = time.monotonic(), request.viewpoint
        camera = viewpoint.camera(size_hw, self._state.photos.bounds(viewpoint.origin))
        rendering = self._renderer.render(scene, camera, size_hw, request.crop, keep_going)
        if rendering is None:
            return None
        step, seconds = int(scene.state.step), time.monotonic() - begun
        return RenderedView(request, version, step, camera, rendering, seconds)

    def _display(self, view: RenderedView) -> None:
        self.last_view, self.last_options = view, self._client.options()
        picture = self._renderer.picture(view.rendering, view.camera, self.last_options)
        self._client.show(view, picture)

    def _is_current(self, request: Request) -> bool:
        return not self._closed and self._client.request().key == request.key

    def _stays_current(self, request: Request) -> bool:
        """Whether the request does not change for a while."""
        end = time.monotonic() + STILL_SECONDS
        with self._condition:
            while (rest := end - time.monotonic()) > 0 and self._is_current(request):
                self._condition.wait(rest)
        return self._is_current(request)
