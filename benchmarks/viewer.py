"""The latency of the viewer, and the slowdown of training by an open page.

    python run.py --output outputs/bricks
    python benchmarks/viewer.py outputs/bricks

Both are measured in the page, which Debian's Chromium draws without a GPU on the same machine. The
answer is the time from a movement of the mouse to the first frame of the page that differs; the
server's part of it is the time from the report of the movement to the picture sent. The picture is
sharp at the first frame that no longer changes. Training is timed call by call, without a page and
with a still page, to separate the cost of Chromium from that of rendering. Writes
``benchmarks/results/viewer.json``.
"""

import argparse
import base64
import contextlib
import io
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Error, Page
from record import write_record

from nerf_jax import config as configs
from nerf_jax import data, methods
from nerf_jax.app import notebook, trained
from nerf_jax.app.commands.view import live_viewer
from nerf_jax.app.fit import TrainingStatus, fit
from nerf_jax.app.runs import Clock, Run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.app.trained import Trained
from nerf_jax.app.viewer import Viewer
from nerf_jax.devices import ray_mesh
from nerf_jax.render import image_renderer
from nerf_jax.train import TrainState

sys.path.append(str(Path(__file__).parent.parent))
from tests.browser import WEBGL, chromium

PANELS = {"width": 960, "height": 400}  # the canvas between the panels is square
PORT = 8090
SAME = 0.5 / 255
"""The mean difference below which two frames are equal."""
SETTLING = 15.0
"""Seconds after a page was opened, in which programs are compiled and photos sent."""


class Frames:
    """The frames of a page, with their times."""

    def __init__(self, page: Page) -> None:
        self._page, self._kept = page, []
        self._session = page.context.new_cdp_session(page)
        self._session.on("Page.screencastFrame", self._keep)
        self._session.send("Page.startScreencast", {"format": "jpeg", "quality": 60})

    def _keep(self, event: dict[str, Any]) -> None:
        with contextlib.suppress(Error):  # the page is closed
            self._session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})
        self._kept.append((event["metadata"]["timestamp"], event["data"]))

    def during(self, seconds: float, action: Any = lambda: None) -> list[tuple[float, np.ndarray]]:
        """The frames from the last one before an action until ``seconds`` after it, at time 0."""
        before = self._kept[-1:]
        self._kept, begun = before, time.time()
        action()
        self._page.wait_for_timeout(1000 * seconds)
        return [(stamp - begun, _middle(data)) for stamp, data in self._kept]


def _middle(data: str) -> np.ndarray:
    """The part of a frame between the panels."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    height, width = image.shape[:2]
    across = slice(width // 2 - height // 2, width // 2 + height // 2)
    return image[:, across].astype(np.float32) / 255


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    return float(np.abs(one - other).mean()) > SAME


def answer(frames: list[tuple[float, np.ndarray]]) -> tuple[float, float]:
    """Seconds to the first frame that differs, and to the first that equals the last."""
    (_, before), *after = frames
    first = next(at for at, shown in after if at > 0 and differ(shown, before))
    unlike = [at for at, shown in after if differ(shown, after[-1][1])]
    sharp = next(at for at, _ in after if at > max(unlike, default=0.0))
    return first, sharp


class ServerTimes:
    """The sizes of the pictures sent to a client, and the time from a movement to the first."""

    def __init__(self, client: Any) -> None:
        self._show, self._notify = client.show, client.render_loop.notify
        client.show, client.render_loop.notify = self._record, self._notified
        self.sizes: list[tuple[int, int]] = []
        self.begin()

    def begin(self) -> None:
        """Wait for the next movement."""
        self._moved_at = self.seconds_to_first = np.nan

    def _notified(self) -> None:
        if np.isnan(self._moved_at):
            self._moved_at = time.perf_counter()
        self._notify()

    def _record(self, view: Any, picture: Any) -> None:
        self._show(view, picture)
        self.sizes.append(picture.pixels.shape[:2])
        if np.isnan(self.seconds_to_first):
            self.seconds_to_first = time.perf_counter() - self._moved_at


def latency(run: Path, moves: int, resolution: int) -> dict[str, Any]:
    """Latencies of a page that shows a run."""
    with (
        closing(notebook.viewer(trained.load(Run(run)), port=PORT)) as window,
        chromium(*WEBGL) as browser,
    ):
        page, client = _open(browser, window.viewer)
        client.controls.cameras.value = False
        client.controls.resolution.value = resolution
        server = ServerTimes(client)
        frames = Frames(page)
        x, y = PANELS["width"] / 2, PANELS["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        frames.during(8)
        answers, served = [], []
        for number in range(moves):
            x += 40
            server.begin()
            found = answer(frames.during(6, lambda x=x, y=y: page.mouse.move(x % 900, y)))
            answers.append(found)
            served.append(server.seconds_to_first)
            print(f"move {number + 1}: " + ", ".join(f"{at:.2f} s" for at in (*found, served[-1])))

        def drag() -> None:
            for step in range(60):
                page.mouse.move((x + 6 * step) % 900, y)
                page.wait_for_timeout(50)

        dragged = frames.during(0, drag)
        page.mouse.up()
        shown = [pair for pair in itertools.pairwise(dragged) if pair[1][0] > 0]
        changes = sum(differ(one[1], other[1]) for one, other in shown)
        first, sharp = np.array(answers).T
        return {
            "full_hw": max(server.sizes),
            "coarse_hw": min(server.sizes),
            "answer": _spread(first),
            "answer_of_server": _spread(served),
            "sharp": _spread(sharp),
            "pictures_per_second": changes / dragged[-1][0],
        }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(seconds)), "worst": float(np.max(seconds))}


def _open(browser: Browser, viewer: Viewer) -> tuple[Page, Any]:
    page = browser.new_page(viewport=PANELS)
    page.goto(viewer.url)
    page.get_by_text("pixels in").wait_for(timeout=120_000)
    notices = page.locator(".mantine-Notification-closeButton")
    if notices.count():  # a warning about software rendering
        notices.first.click()
    return page, list(viewer.clients.values())[-1]


class Schedule:
    """A training callback that opens and closes the page, and records the time of each call."""

    def __init__(self, browser: Browser, viewer: Viewer, rounds: int, seconds: float) -> None:
        self._browser, self._viewer = browser, viewer
        self._phases = [phase for _ in range(rounds) for phase in ((0, seconds / 3), (1, seconds))]
        self._phases.append(self._phases[0])
        self._page: Page | None = None
        self._settled = self._until = -np.inf
        self._last = 0, 0.0
        self._rendered = False
        self.calls: list[list[tuple[float, bool]]] = []
        """For each phase: seconds a step, and whether a picture was rendered meanwhile."""

    def __call__(self, status: TrainingStatus) -> bool:
        step, at = self._last
        now = time.perf_counter()
        if self.calls and now > self._settled:
            self.calls[-1].append(((now - at) / (status.step - step), self._rendered))
        self._rendered = False
        if status.psnr is not None and now > self._until:
            if not self._phases:
                os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: it stops and saves
                return True
            self._begin(*self._phases.pop(0))
        keep_going = self._viewer.scene_state(status)
        self._last = status.step, time.perf_counter()
        return keep_going

    def _begin(self, has_page: int, seconds: float) -> None:
        """Begin a phase; training waits meanwhile."""
        if has_page:
            self._page = self._browser.new_page(viewport=PANELS)
            self._page.goto(self._viewer.url)
            self._page.wait_for_timeout(3000)
            (client,) = self._viewer.clients.values()
            self._mark(client.render_loop)
        elif self._page:
            self._page.close()
        self._settled = time.perf_counter() + SETTLING * has_page
        self._until = self._settled + seconds
        self.calls.append([])

    def _mark(self, render_loop: Any) -> None:
        update = render_loop._update

        def marked() -> None:
            self._rendered = True
            update()
            self._rendered = True

        render_loop._update = marked


def slower_by(calls: list[list[tuple[float, bool]]]) -> dict[str, float]:
    """The slowdown of training in percent by an open page, and in addition by its pictures.

    Args:
        calls: of the phases, alternately without and with a page. Each phase with a page is
            compared with its neighbours, as the machine and the scene change slowly.
    """
    page, pictures = [], []
    for before, during, after in zip(calls[:-2:2], calls[1:-1:2], calls[2::2], strict=True):
        alone = np.median([seconds for seconds, _ in before + after])
        undisturbed = [seconds for seconds, rendered in during if not rendered]
        page.append(np.median(undisturbed) / alone - 1)
        pictures.append(np.mean([seconds for seconds, _ in during]) / np.mean(undisturbed) - 1)
    return {
        "page": 100 * float(np.median(page)),
        "pictures": 100 * float(np.median(pictures)),
    }


def slowdown(rounds: int, seconds: float) -> dict[str, Any]:
    """Training of the built-in scene with and without an open page."""
    config = configs.load("bricks.py", "cpu")
    config = replace(
        config, train=replace(config.train, num_steps=10**6, max_seconds=None, validate_every=0)
    )
    scene = data.load(config.data)
    split = scene.split("train")
    method, setting = methods.build(config), SceneCameras.of(scene, {"train": split})
    renderer = image_renderer(method.render, config.eval.rays_per_chunk)
    with tempfile.TemporaryDirectory() as folder, chromium(*WEBGL) as browser:
        run = Run(Path(folder))

        def reopen(state: TrainState) -> Trained:
            return Trained(run, config, method, state, Clock(), setting, renderer)

        with live_viewer(PORT, config, method, split, reopen) as viewer:
            schedule = Schedule(browser, viewer, rounds, seconds)
            fit(run, config, method, split.dataset, None, ray_mesh(), watch=schedule)
    return {
        "slower_by_percent": slower_by(schedule.calls),
        "ms_per_step": [
            1000 * float(np.median([seconds for seconds, _ in phase])) for phase in schedule.calls
        ],
        "pictures": sum(rendered for phase in schedule.calls for _, rendered in phase),
        "calls": sum(map(len, schedule.calls)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run of the built-in scene")
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--resolution", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=45, help="of each phase")
    args = parser.parse_args()
    figures = {
        "load_average": os.getloadavg()[0],
        "latency": latency(args.run, args.moves, args.resolution),
        "training": slowdown(args.rounds, args.seconds),
    }
    versions = {name: metadata.version(name) for name in ("viser", "playwright")}
    write_record(Path(__file__), figures, versions)


if __name__ == "__main__":
    main()
