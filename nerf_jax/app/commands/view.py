"""``run.py view``: view a trained scene in the browser."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from nerf_jax import data
from nerf_jax.app import trained
from nerf_jax.app.commands.options import MISSING, parse, tyro
from nerf_jax.app.progress import say
from nerf_jax.app.runs import Run
from nerf_jax.app.trained import Trained
from nerf_jax.config import Config
from nerf_jax.config.checks import require
from nerf_jax.data.files import optional_import
from nerf_jax.data.scene import Split
from nerf_jax.train import TrainState
from nerf_jax.types import Cameras, Model

PORT = 8080


@dataclass(frozen=True)
class ViewArgs:
    """View the scene of a run in the browser."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    port: int = PORT
    """Port of the page. If it is taken, the next free one."""
    host: str = "127.0.0.1"
    """Address to listen on. By default only this machine can open the page; with 0.0.0.0 everyone
    who reaches the machine and has the printed address, which then has a token."""


def view(arguments: list[str]) -> int:
    """Run the command until it is interrupted."""
    args = parse(ViewArgs, arguments, ViewArgs(MISSING))
    viewer = load_viewer(args.port)
    scene = trained.load(Run(args.run))
    with closing(viewer.open_viewer(scene, args.port, args.host)) as page:
        threading.Thread(target=_add_photos, args=(page, scene.config), daemon=True).start()
        keep_open()
    return 0


def load_viewer(port: int) -> ModuleType:
    """Import the viewer; raise an ImportError if a package is missing, or a ValueError for a port
    that does not exist.
    """
    optional_import("viser", "nerf_jax[viewer]")
    from nerf_jax.app import viewer

    require(1 <= port <= 65535, "port", port, "between 1 and 65535")
    return viewer


@contextmanager
def live_viewer(
    port: int | None,
    config: Config,
    model: Model,
    split: Split,
    make_scene: Callable[[TrainState], Trained],
) -> Iterator[Any]:
    """Open the viewer of a scene in training, whose ``scene_state`` is the callback of ``fit``.

    Without a port, none is opened. Raises a ValueError if the dataset has rays without cameras.
    """
    if port is None:
        yield None
        return
    viewer, cameras = load_viewer(port), split.dataset.cameras
    if not isinstance(cameras, Cameras):
        raise ValueError("--view: a ray dataset has no cameras to start from: train without --view")
    photos = viewer.Photos(split.names, cameras, split.dataset.size_hw)
    training = viewer.LiveTraining(photos, make_scene)
    with closing(viewer.Viewer(training, config, model, port)) as page:
        page.add_photos(split.dataset.pixels)
        yield page


def keep_open() -> None:
    """Wait for Ctrl-C."""
    say("the viewer is open until Ctrl-C")
    with suppress(KeyboardInterrupt):
        _wait()


def _wait() -> None:
    threading.Event().wait()


def _add_photos(page: Any, config: Config) -> None:
    """Read the photos, if they are available, while the page is already in use."""
    try:
        if not data.is_local(config.data):
            say(f"  the photos of {config.data.scene} are not available, so none is shown")
            return
        split = data.load(config.data).split("train")
        if split.names == page.scene_state.photos.names:
            page.add_photos(split.dataset.pixels)
    except (ValueError, OSError) as error:
        say(f"  the photos are not shown: {error}")
