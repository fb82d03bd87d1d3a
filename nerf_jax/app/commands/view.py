"""``run.py view``: look around in the scene of a run."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from nerf_jax import data, methods
from nerf_jax.app import trained
from nerf_jax.app.commands.options import MISSING, parse, tyro
from nerf_jax.app.progress import say
from nerf_jax.app.runs import Run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.app.trained import Trained
from nerf_jax.config import Config
from nerf_jax.data.files import optional_import
from nerf_jax.data.scene import Split
from nerf_jax.train import TrainState
from nerf_jax.types import Model

PORT = 8080


@dataclass(frozen=True)
class ViewArgs:
    """Look around in the scene of a run, in the browser."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    port: int = PORT
    """Of the page, which this machine alone can open. If it is taken, the next that is free."""


def view(arguments: list[str]) -> int:
    """Run the command, until it is interrupted."""
    args = parse(ViewArgs, arguments, ViewArgs(MISSING))
    viewer = load_viewer(args.port)
    scene = trained.load(Run(args.run))
    photos = viewer.Photos.of(scene.cameras(), scene.all_cameras.splits["train"])
    method = methods.build(scene.config)
    with closing(
        viewer.Viewer(viewer.Stage(scene), scene.config, method, photos, args.port)
    ) as page:
        threading.Thread(target=_hang_photos, args=(page, scene, photos), daemon=True).start()
        stay()
    return 0


def load_viewer(port: int) -> ModuleType:
    """The viewer's package, which needs more than other commands do.

    Raises:
        ImportError: that is missing.
        ValueError: there is no such port.
    """
    optional_import("viser", "nerf_jax[viewer]")
    from nerf_jax.app import viewer

    viewer.check_port(port)
    return viewer


@contextmanager
def look_on(
    port: int | None,
    config: Config,
    method: Model,
    photos: tuple[Split, SceneCameras],
    reopen: Callable[[TrainState], Trained],
) -> Iterator[Any]:
    """The page of those who look on while a scene is learned; None where no port is given.

    Raises:
        ValueError: the scene was given by rays, which say nothing of where to look from.
    """
    if port is None:
        yield None
        return
    viewer, (split, setting) = load_viewer(port), photos
    if "train" not in setting.splits:
        raise ValueError("--view: a ray dataset says nothing of cameras, nor where to look from")
    shots, stage = setting.splits["train"], viewer.Stage()
    hung = replace(viewer.Photos.of(shots.cameras, shots), pixels=split.dataset.pixels)
    learning = viewer.Learning(stage, reopen)
    with closing(viewer.Viewer(stage, config, method, hung, port, learning)) as page:
        page.hang(hung)
        yield page


def stay() -> None:
    """Until Ctrl-C."""
    say("the viewer is open until Ctrl-C")
    with suppress(KeyboardInterrupt):
        _wait()


def _wait() -> None:
    threading.Event().wait()


def _hang_photos(page: Any, scene: Trained, photos: Any) -> None:
    """The photos are read while somebody looks around already, if they are there at all."""
    try:
        if not data.is_local(scene.config.data):
            say(f"  the photos of {scene.config.data.scene} are not at hand, nor shown")
            return
        split = data.load(scene.config.data).split("train")
        if split.names == photos.names:
            page.hang(replace(photos, pixels=split.dataset.pixels))
    except (ValueError, OSError) as error:
        say(f"  the photos are not shown: {error}")
