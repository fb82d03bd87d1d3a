"""How soon the viewer answers, and what training pays for somebody who looks on.

    python run.py --output outputs/bricks
    python benchmarks/viewer.py outputs/bricks

Both are measured where a visitor would: in the page, which Debian's Chromium draws without a GPU on
the same machine. An answer is the time from a move of the mouse to the first frame of the page that
is another, a sharp picture that to the first frame that no longer changes. Training is timed while
nobody is there, while the page is open but does not follow, and while it follows; what Chromium
itself costs is thus told apart. Writes ``benchmarks/results/viewer.json``.
"""

import argparse
import base64
import io
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from record import write_record

from nerf_jax import config as configs
from nerf_jax import data, model, trained
from nerf_jax.devices import ray_mesh
from nerf_jax.fit import Clock, Glimpse, fit
from nerf_jax.render import image_renderer
from nerf_jax.runs import Run
from nerf_jax.setting import Setting
from nerf_jax.trained import Trained
from nerf_jax.viewer import Learning, Photos, Stage, Viewer

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PANELS = {"width": 960, "height": 400}  # between its panels, a canvas as wide as high
SAME = 0.5 / 255
"""The mean difference below which two frames show the same."""
SETTLING = 15.0
"""Seconds after somebody came or went, in which a program is compiled, or photos hung."""
ARMS = "nobody there", "page open, not following", "page open, following"


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
        self._session.send("Page.startScreencast", {"format": "jpeg", "quality": 90})

    def _keep(self, event: dict[str, Any]) -> None:
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


def latency(run: Path, moves: int, resolution: int) -> dict[str, Any]:
    """Of a page that shows a run."""
    scene = trained.load(Run(run))
    photos = Photos.of(scene.cameras(), scene.setting.shots["train"])
    method = model.build(scene.config)
    with (
        closing(Viewer(Stage(scene), scene.config, method, photos, 8090)) as viewer,
        chromium() as browser,
    ):
        page, visitor = _open(browser, viewer)
        visitor.controls.cameras.value = False
        visitor.controls.resolution.value = resolution
        coarse = []
        show = visitor.drawing._show
        visitor.drawing._show = lambda drawn, picture: (
            coarse.append((drawn.is_final, picture.pixels.shape[:2])),
            show(drawn, picture),
        )
        frames = Frames(page)
        x, y = PANELS["width"] / 2, PANELS["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        frames.during(8)
        answers = []
        for number in range(moves):
            x += 40
            answers.append(answer(frames.during(6, lambda x=x, y=y: page.mouse.move(x % 900, y))))
            print(f"move {number + 1}: " + ", ".join(f"{at:.2f} s" for at in answers[-1]))

        def drag() -> None:
            for step in range(60):
                page.mouse.move((x + 6 * step) % 900, y)
                page.wait_for_timeout(50)

        dragged = frames.during(0, drag)
        page.mouse.up()
        shown = [pair for pair in itertools.pairwise(dragged) if pair[1][0] > 0]
        changes = sum(differ(one[1], other[1]) for one, other in shown)
        first, sharp = np.array(answers).T
        sizes = [size for final, size in coarse if final]
        return {
            "full_hw": max(sizes),
            "coarse_hw": min(size for _, size in coarse),
            "answer": {"median": float(np.median(first)), "worst": float(first.max())},
            "sharp": {"median": float(np.median(sharp)), "worst": float(sharp.max())},
            "pictures_per_second": changes / dragged[-1][0],
        }


def _open(browser: Browser, viewer: Viewer) -> tuple[Page, Any]:
    page = browser.new_page(viewport=PANELS)
    page.goto(viewer.url)
    page.get_by_text("pixels in").wait_for(timeout=120_000)
    notices = page.locator(".mantine-Notification-closeButton")
    if notices.count():  # that nothing but software draws
        notices.first.click()
    return page, list(viewer.visitors.values())[-1]


class Schedule:
    """The ``watch`` of a training whose visitor comes and goes; the time of each arm's steps."""

    def __init__(self, browser: Browser, viewer: Viewer, rounds: int, seconds: float) -> None:
        self._browser, self._viewer, self._seconds = browser, viewer, seconds
        self._page: Page | None = None
        self._left = [arm for _ in range(rounds) for arm in (*ARMS, *ARMS[::-1])]
        self._begun = 0.0
        self._first_step: int | None = None  # once all has settled
        self.steps_per_second: dict[str, list[float]] = {arm: [] for arm in ARMS}

    def __call__(self, glimpse: Glimpse) -> bool:
        going_on = self._viewer.learning(glimpse)
        now = time.perf_counter()
        if glimpse.psnr is None or not self._left:
            return going_on
        if self._first_step is None:
            if not self._begun:
                self._arrange(self._left[0])
                self._begun = time.perf_counter()
            elif now - self._begun >= SETTLING:
                self._begun, self._first_step = now, glimpse.step
        elif now - self._begun >= self._seconds:
            rate = (glimpse.step - self._first_step) / (now - self._begun)
            arm = self._left.pop(0)
            self.steps_per_second[arm].append(rate)
            print(f"{arm}: {rate:.2f} steps/s")
            self._begun, self._first_step = 0.0, None
            if not self._left:
                os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: it stops and saves
        return going_on

    def _arrange(self, arm: str) -> None:
        """Training waits meanwhile."""
        if arm == ARMS[0]:
            if self._page:
                self._page.close()
                self._page = None
            return
        if self._page is None:
            self._page = self._browser.new_page(viewport=PANELS)
            self._page.goto(self._viewer.url)
            self._page.wait_for_timeout(3000)
        (visitor,) = self._viewer.visitors.values()
        visitor.controls.follow.value = arm == ARMS[2]


def slowdown(rounds: int, seconds: float) -> dict[str, Any]:
    """Training of the built-in scene with and without somebody there."""
    config = configs.load("bricks.py", "cpu")
    config = replace(
        config, train=replace(config.train, num_steps=10**6, max_seconds=None, validate_every=0)
    )
    scene = data.load(config.data)
    split = scene.split("train")
    config = replace(config, num_photos=len(split.dataset.pixels))
    method, setting = model.build(config), Setting.of(scene, {"train": split})
    renderer = image_renderer(method.render, config.eval.rays_per_chunk)
    photos = replace(
        Photos.of(setting.shots["train"].cameras, setting.shots["train"]),
        pixels=split.dataset.pixels,
    )
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        run, stage = Run(Path(folder)), Stage()
        learning = Learning(
            stage, lambda state: Trained(run, config, method, state, Clock(), setting, renderer)
        )
        with closing(Viewer(stage, config, method, photos, 8090, learning)) as viewer:
            viewer.hang(photos)
            schedule = Schedule(browser, viewer, rounds, seconds)
            fit(run, config, method, split.dataset, None, ray_mesh(), watch=schedule)
    rates = {arm: np.array(found) for arm, found in schedule.steps_per_second.items()}
    return {
        "seconds_each": seconds,
        "steps_per_second": {arm: found.tolist() for arm, found in rates.items()},
        "slower_by_percent": {
            arm: float(100 * np.median(rates[ARMS[0]] / found - 1)) for arm, found in rates.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run of the built-in scene")
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--resolution", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=40)
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
