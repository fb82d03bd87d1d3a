"""The thread that draws for a visitor: coarse while they move, then sharper and sharper."""

import functools
import threading
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from nerf_jax.app.trained import Trained
from nerf_jax.app.viewer.photos import Photos
from nerf_jax.app.viewer.picture import Look, Picture, View, camera_of, paint, size_of
from nerf_jax.app.viewer.resolution import Pace, larger
from nerf_jax.app.viewer.scene_state import Learning, Stage
from nerf_jax.app.viewer.view_renderer import Crop, Eye, box_of
from nerf_jax.types import Cameras, Rendering

COARSE = 0.1
"""Seconds for a picture while moving: as much again passes on its way to the eye."""

STILL = 0.1
"""Seconds without a move, before more than a coarse picture is begun."""

SHARE = 0.03
"""The part of the time that following the training takes."""

FOLLOWED = 0.5
"""Seconds for a picture that follows it: so there is a new one every quarter of a minute."""

LEARNING = 1.5
"""Seconds for any picture of a scene that is being learned: at first it is fog, which takes long,
and is over when the picture is there."""


class Wish(NamedTuple):
    """What a visitor wants to see."""

    view: View
    resolution: int
    crop: Crop | None = None

    @property
    def key(self) -> Hashable:
        """The same for the same wish."""
        return self.view.world_from_camera.tobytes(), self.view[1:], self[1:]


class Drawn(NamedTuple):
    """What is on their screen."""

    wish: Wish
    version: int
    """Of the scene."""
    step: int
    camera: Cameras
    seen: Rendering
    is_final: bool
    """Whether nothing better was meant to come."""
    seconds: float
    """That it took."""


class Drawing:
    """Draws what is wished for whenever it is told that something may have changed.

    Args:
        stage: the scene.
        eye: sees it.
        photos: say how far to look.
        learning: training, if it goes on.
        wish: what to draw; asked again and again.
        look: how to show it; the same.
        follow: whether to draw what training has made of the scene meanwhile; the same.
        show: what is done with pictures.
        complain: what is done with errors.
    """

    def __init__(
        self,
        stage: Stage,
        eye: Eye,
        photos: Photos,
        learning: Learning | None,
        *,
        wish: Callable[[], Wish],
        look: Callable[[], Look],
        follow: Callable[[], bool],
        show: Callable[[Drawn, Picture], None],
        complain: Callable[[Exception], None],
    ) -> None:
        self._stage, self._eye, self._photos, self._learning = stage, eye, photos, learning
        self._wish, self._look, self._follow = wish, look, follow
        self._show, self._complain = show, complain
        self._news = threading.Condition()
        self._stirred, self._asked, self._ended = True, False, False
        self._pace = Pace()
        self._follow_pace = Pace(slower=0.5, faster=0.5)  # nobody waits for those pictures
        self._drawn: Drawn | None = None
        self._shown: Look | None = None
        self._due = 0.0
        self._thread = threading.Thread(target=self._run, name="drawing", daemon=True)

    def start(self) -> None:
        self._stage.onlookers.add(self.stir)
        self._thread.start()

    def stir(self) -> None:
        """Something may have changed."""
        with self._news:
            self._stirred = True
            self._news.notify()

    def end(self) -> None:
        """Nobody looks any more."""
        self._stage.onlookers.discard(self.stir)
        with self._news:
            self._ended = True
            self._news.notify()

    def _run(self) -> None:
        while self._wait():
            try:
                self._draw()
            except Exception as error:  # there is nobody above to tell, and the next may succeed
                self._complain(error)

    def _wait(self) -> bool:
        """Until there is something to do; False at the end."""
        with self._news:
            while not (self._stirred or self._ended):
                if not self._news.wait(self._patience()) and self._learning:
                    self._asked = True
                    self._learning.ask()
            self._stirred = False
            return not self._ended

    def _patience(self) -> float | None:
        """Seconds until another picture of the training is due; None: for ever."""
        if self._learning is None or self._asked or not (self._is_learning() and self._follow()):
            return None
        return max(0.0, self._due - time.monotonic())

    def _is_learning(self) -> bool:
        return bool(self._learning and self._learning.running and not self._learning.paused)

    def _draw(self) -> None:
        scene, version, last = self._stage.scene, self._stage.version, self._drawn
        if scene is None:  # training has not begun: the first look at it will be told
            if self._learning:
                self._learning.ask()
            return
        self._eye.warm_up(scene)
        wish = self._wish()
        if last is None or last.wish.key != wish.key or not last.is_final:
            self._sharpen(scene, version, wish)
        elif last.version != version and self._may_follow():
            self._catch_up(scene, version, wish)
        elif self._shown != self._look():
            self._put(last)

    def _sharpen(self, scene: Trained, version: int, wish: Wish) -> None:
        """What is seen from elsewhere: as soon as can be, then better and better."""
        full_hw, spent = size_of(wish.view.aspect, wish.resolution), 0.0
        size_hw: tuple[int, int] | None = self._pace.largest(full_hw, COARSE)
        is_first = True
        while size_hw:
            # The first is finished in any case, or who never stops would never see anything.
            go_on = self._is_looked_at if is_first else functools.partial(self._is_wished, wish)
            drawn = self._see(scene, version, wish, size_hw, go_on)
            if drawn is None:
                return
            if is_first:
                self._pace.measured(size_hw[0] * size_hw[1], drawn.seconds)
            most_hw = self._pace.largest(full_hw, LEARNING) if self._is_learning() else full_hw
            size_hw, spent = larger(size_hw, most_hw), spent + drawn.seconds
            self._put(drawn._replace(is_final=size_hw is None))
            if is_first and not self._keeps_still(wish):
                return
            is_first = False
        # Who moves pays as they go: it is those who only look on that must not slow training.
        self._rest(min(spent, FOLLOWED))

    def _catch_up(self, scene: Trained, version: int, wish: Wish) -> None:
        """What has been learned meanwhile, seen from where they still are."""
        begun, size_hw = time.monotonic(), size_of(wish.view.aspect, wish.resolution)
        if self._is_learning():
            size_hw = self._follow_pace.largest(size_hw, FOLLOWED)
        go_on = functools.partial(self._is_wished, wish)
        drawn = self._see(scene, version, wish, size_hw, go_on)
        if drawn:
            self._follow_pace.measured(size_hw[0] * size_hw[1], drawn.seconds)
            self._put(drawn)
            self._rest(time.monotonic() - begun)

    def _may_follow(self) -> bool:
        due = self._follow() and time.monotonic() >= self._due
        return due or not self._is_learning()

    def _rest(self, spent: float) -> None:
        """Until so much was a small share of the time."""
        self._asked, self._due = False, time.monotonic() + spent / SHARE

    def _see(
        self,
        scene: Trained,
        version: int,
        wish: Wish,
        size_hw: tuple[int, int],
        go_on: Callable[[], bool],
    ) -> Drawn | None:
        """A picture, unless it is called off."""
        begun = time.monotonic()
        camera = camera_of(wish.view, size_hw, self._photos.bounds(wish.view.origin))
        seen = self._eye.see(scene, camera, size_hw, box_of(wish.crop), go_on)
        if seen is None:
            return None
        step, seconds = int(scene.state.step), time.monotonic() - begun
        return Drawn(wish, version, step, camera, seen, True, seconds)

    def _put(self, drawn: Drawn) -> None:
        self._drawn, self._shown = drawn, self._look()
        self._show(drawn, paint(drawn.seen, drawn.camera, self._eye.behind, self._shown))

    def _is_looked_at(self) -> bool:
        return not self._ended

    def _is_wished(self, wish: Wish) -> bool:
        return not self._ended and self._wish().key == wish.key

    def _keeps_still(self, wish: Wish) -> bool:
        """Whether the wish stays what it is for a while."""
        until = time.monotonic() + STILL
        with self._news:
            while (rest := until - time.monotonic()) > 0 and self._is_wished(wish):
                self._news.wait(rest)
        return self._is_wished(wish)
