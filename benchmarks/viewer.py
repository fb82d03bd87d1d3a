"""How soon the viewer answers, and what training pays for somebody who looks on.

    python run.py --output outputs/bricks
    python benchmarks/viewer.py outputs/bricks

Both are measured where a visitor would: in the page, which Debian's Chromium draws without a GPU on
the same machine. An answer is the time from a move of the mouse to the first frame of the page that
is another, and the server's part of it that from hearing of the move to sending a picture; a sharp
picture is there with the first frame that no longer changes. Training is timed while nobody is
there and while the page is open and still, call by call, so that what Chromium itself costs is told
apart from what the pictures of the scene do. Writes ``benchmarks/results/viewer.json``.
"""

import argparse
import base64
import contextlib
import io
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Error, Page, sync_playwright
from record import write_record

from nerf_jax import config as configs
from nerf_jax import data, methods
from nerf_jax.app import notebook, trained
from nerf_jax.app.commands.view import look_on
from nerf_jax.app.fit import TrainingStatus, fit
from nerf_jax.app.runs import Clock, Run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.app.trained import Trained
from nerf_jax.app.viewer import Viewer
from nerf_jax.devices import ray_mesh
from nerf_jax.render import image_renderer
from nerf_jax.train import TrainState

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PANELS = {"width": 960, "height": 400}  # between its panels, a canvas as wide as high
PORT = 8090
SAME = 0.5 / 255
"""The mean difference below which two frames show the same."""
SETTLING = 15.0
"""Seconds after somebody came or went, in which a program is compiled, or photos hung."""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


class Frames:
    """What a page shows, frame by frame, with the times that they came."""

    def __init__(self, page: Page) -> None:
        self._page, self._kept = page, []
        self._session = page.context.new_cdp_session(page)
        self._session.on("Page.screencastFrame", self._keep)
        self._session.send("Page.startScreencast", {"format": "jpeg", "quality": 60})

    def _keep(self, event: dict[str, Any]) -> None:
        with contextlib.suppress(Error):  # the page is closed
            self._session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})
        self._kept.append((event["metadata"]["timestamp"], event["data"]))

    def during(self, seconds: float, act: Any = lambda: None) -> list[tuple[float, np.ndarray]]:
        """The frames from the last one before an act until so long after it, its time being 0."""
        before = self._kept[-1:]
        self._kept, begun = before, time.time()
        act()
        self._page.wait_for_timeout(1000 * seconds)
        return [(stamp - begun, _middle(data)) for stamp, data in self._kept]


def _middle(data: str) -> np.ndarray:
    """Of a frame, where no panel is."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    height, width = image.shape[:2]
    across = slice(width // 2 - height // 2, width // 2 + height // 2)
    return image[:, across].astype(np.float32) / 255


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    return float(np.abs(one - other).mean()) > SAME


def answer(frames: list[tuple[float, np.ndarray]]) -> tuple[float, float]:
    """Seconds to the first frame that is another, and to the first like the last."""
    (_, before), *after = frames
    first = next(at for at, shown in after if at > 0 and differ(shown, before))
    unlike = [at for at, shown in after if differ(shown, after[-1][1])]
    sharp = next(at for at, _ in after if at > max(unlike, default=0.0))
    return first, sharp


class Seen:
    """What the server draws for a visitor, and how soon after it is told of a move."""

    def __init__(self, drawing: Any) -> None:
        self._show, self._stir = drawing._show, drawing.stir
        drawing._show, drawing.stir = self._keep, self._told
        self.sizes: list[tuple[int, int]] = []
        self.begin()

    def begin(self) -> None:
        """Wait for another move."""
        self._moved_at = self.seconds_to_first = np.nan

    def _told(self) -> None:
        if np.isnan(self._moved_at):
            self._moved_at = time.perf_counter()
        self._stir()

    def _keep(self, drawn: Any, picture: Any) -> None:
        self._show(drawn, picture)
        self.sizes.append(picture.pixels.shape[:2])
        if np.isnan(self.seconds_to_first):
            self.seconds_to_first = time.perf_counter() - self._moved_at


def latency(run: Path, moves: int, resolution: int) -> dict[str, Any]:
    """Of a page that shows a run."""
    with (
        closing(notebook.viewer(trained.load(Run(run)), port=PORT)) as window,
        chromium() as browser,
    ):
        page, visitor = _open(browser, window.viewer)
        visitor.controls.cameras.value = False
        visitor.controls.resolution.value = resolution
        seen = Seen(visitor.drawing)
        frames = Frames(page)
        x, y = PANELS["width"] / 2, PANELS["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        frames.during(8)
        answers, served = [], []
        for number in range(moves):
            x += 40
            seen.begin()
            found = answer(frames.during(6, lambda x=x, y=y: page.mouse.move(x % 900, y)))
            answers.append(found)
            served.append(seen.seconds_to_first)
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
            "full_hw": max(seen.sizes),
            "coarse_hw": min(seen.sizes),
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
    if notices.count():  # that nothing but software draws
        notices.first.click()
    return page, list(viewer.visitors.values())[-1]


class Schedule:
    """The ``callback`` of a training whose visitor comes and goes, and the time of each call."""

    def __init__(self, browser: Browser, viewer: Viewer, rounds: int, seconds: float) -> None:
        self._browser, self._viewer = browser, viewer
        self._phases = [phase for _ in range(rounds) for phase in ((0, seconds / 3), (1, seconds))]
        self._phases.append(self._phases[0])
        self._page: Page | None = None
        self._settled = self._until = -np.inf
        self._last = 0, 0.0
        self._drew = False
        self.calls: list[list[tuple[float, bool]]] = []
        """Of each phase: seconds a step, and whether a picture was drawn meanwhile."""

    def __call__(self, glimpse: TrainingStatus) -> bool:
        step, at = self._last
        now = time.perf_counter()
        if self.calls and now > self._settled:
            self.calls[-1].append(((now - at) / (glimpse.step - step), self._drew))
        self._drew = False
        if glimpse.psnr is not None and now > self._until:
            if not self._phases:
                os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: it stops and saves
                return True
            self._begin(*self._phases.pop(0))
        going_on = self._viewer.learning(glimpse)
        self._last = glimpse.step, time.perf_counter()
        return going_on

    def _begin(self, anyone: int, seconds: float) -> None:
        """Training waits meanwhile."""
        if anyone:
            self._page = self._browser.new_page(viewport=PANELS)
            self._page.goto(self._viewer.url)
            self._page.wait_for_timeout(3000)
            (visitor,) = self._viewer.visitors.values()
            self._mark(visitor.drawing)
        elif self._page:
            self._page.close()
        self._settled = time.perf_counter() + SETTLING * anyone
        self._until = self._settled + seconds
        self.calls.append([])

    def _mark(self, drawing: Any) -> None:
        draw = drawing._draw

        def marked() -> None:
            self._drew = True
            draw()
            self._drew = True

        drawing._draw = marked


def slower_by(calls: list[list[tuple[float, bool]]]) -> dict[str, float]:
    """In percent: what training pays for an open page, and beyond that for pictures in it.

    Args:
        calls: of the phases, in which by turns nobody and somebody is there. Each is compared with
            those right before and after it, as the machine and the scene change slowly.
    """
    page, pictures = [], []
    for before, during, after in zip(calls[:-2:2], calls[1:-1:2], calls[2::2], strict=True):
        alone = np.median([seconds for seconds, _ in before + after])
        undisturbed = [seconds for seconds, drew in during if not drew]
        page.append(np.median(undisturbed) / alone - 1)
        pictures.append(np.mean([seconds for seconds, _ in during]) / np.mean(undisturbed) - 1)
    return {
        "page": 100 * float(np.median(page)),
        "pictures": 100 * float(np.median(pictures)),
    }


def slowdown(rounds: int, seconds: float) -> dict[str, Any]:
    """Training of the built-in scene with and without somebody there."""
    config = configs.load("bricks.py", "cpu")
    config = replace(
        config, train=replace(config.train, num_steps=10**6, max_seconds=None, validate_every=0)
    )
    scene = data.load(config.data)
    split = scene.split("train")
    method, setting = methods.build(config), SceneCameras.of(scene, {"train": split})
    renderer = image_renderer(method.render, config.eval.rays_per_chunk)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        run = Run(Path(folder))

        def reopen(state: TrainState) -> Trained:
            return Trained(run, config, method, state, Clock(), setting, renderer)

        with look_on(PORT, config, method, (split, setting), reopen) as viewer:
            schedule = Schedule(browser, viewer, rounds, seconds)
            fit(run, config, method, split.dataset, None, ray_mesh(), callback=schedule)
    return {
        "slower_by_percent": slower_by(schedule.calls),
        "ms_per_step": [
            1000 * float(np.median([seconds for seconds, _ in phase])) for phase in schedule.calls
        ],
        "pictures": sum(drew for phase in schedule.calls for _, drew in phase),
        "calls": sum(map(len, schedule.calls)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run of the built-in scene")
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--resolution", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=45, help="of a phase")
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
