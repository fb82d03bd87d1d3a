"""What buttons make, in threads of their own: with progress, and what was written or failed."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nerf_jax.app.images import write_png
from nerf_jax.app.mesh import export_scene
from nerf_jax.app.trained import Trained
from nerf_jax.app.video import render_video
from nerf_jax.app.viewer.view_renderer import Crop
from nerf_jax.config import ExportConfig
from nerf_jax.types import Cameras

Tell = Callable[[str, int, int], None]
"""``(what, done, total)``"""


class Works:
    """One thing is made at a time; what else is asked for meanwhile is refused.

    Args:
        show: ``(text, percent)``, to be shown; no percentage when nothing is going on.
        complain: what is done with errors.
    """

    def __init__(
        self,
        show: Callable[[str, float | None], None],
        complain: Callable[[Exception], None],
    ) -> None:
        self._show, self._complain = show, complain
        self._busy = threading.Lock()

    def begin(self, what: str, make: Callable[[Tell], Sequence[Path]]) -> None:
        """Make something.

        Args:
            what: its name, for people.
            make: makes it, telling how far it is; returns the files.
        """
        if not self._busy.acquire(blocking=False):
            raise ValueError(f"{what}: something else is being made still; wait until it is there")
        threading.Thread(target=self._run, args=(what, make), name=what, daemon=True).start()

    def _run(self, what: str, make: Callable[[Tell], Sequence[Path]]) -> None:
        def tell(doing: str, done: int, total: int) -> None:
            self._show(f"{what}: {doing} {done} of {total}", 100 * done / max(total, 1))

        try:
            self._show(f"{what}: begun", 0.0)
            files = make(tell)
            self._show("\n\n".join([f"{what}:", *(f"`{path}`" for path in files)]), None)
        except Exception as error:  # whatever it is, the page is where it was asked for
            self._show(f"{what}: failed", None)
            self._complain(error)
        finally:
            self._busy.release()


def next_free(folder: Path, stem: str, suffix: str = "") -> Path:
    """``stem_000`` in a folder, or the first number after it that is free."""
    number = 0
    while (path := folder / f"{stem}_{number:03d}{suffix}").exists():
        number += 1
    return path


def save_still(folder: Path, pixels: UInt8[np.ndarray, "H W 3"]) -> Path:
    """Write a picture beside a run's other stills."""
    path = next_free(folder / "stills", "view", ".png")
    write_png(path, pixels / np.float32(255))
    return path


def film_keys(
    scene: Trained, path: Cameras, size_hw: tuple[int, int], fps: float, tell: Tell
) -> list[Path]:
    """The film of a way through key frames, in a folder of its own under the run's ``films``.

    Args:
        scene: what to film.
        path: a camera for each frame.
        size_hw: of the frames that they are for.
        fps: frames a second.
        tell: called after each.
    """
    wanted = replace(scene.config.render, fps=fps, size=size_hw, downscale=1)
    folder = next_free(scene.run.folder / "films", "film")
    return render_video(
        scene, wanted, path, folder=folder, tell=lambda done, total: tell("frame", done, total)
    )


def mesh(scene: Trained, crop: Crop | None, tell: Tell) -> list[Path]:
    """The scene's mesh within a box, as ``run.py export`` makes it."""
    box = None if crop is None else (*crop[0], *crop[1])
    wanted = ExportConfig(parts=("mesh",), crop=box)
    return export_scene(scene, wanted, scene.run.folder / "export", on_progress=tell)
