"""The jobs that buttons start, each in its own thread, with progress and errors."""

import functools
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
from nerf_jax.app.viewer.picture import Crop
from nerf_jax.config import ExportConfig
from nerf_jax.types import Cameras

ProgressCallback = Callable[[str, int, int], None]
"""Called with ``(unit, done, total)``."""

Job = Callable[[ProgressCallback], Sequence[Path]]
"""Returns the files that it wrote."""


class Jobs:
    """Runs one job at a time and refuses others meanwhile.

    Args:
        show: called with ``(text, percent)``; ``percent`` is None once the job has ended.
        on_error: called with the exception of a failed job.
    """

    def __init__(
        self, show: Callable[[str, float | None], None], on_error: Callable[[Exception], None]
    ) -> None:
        self._show, self._on_error = show, on_error
        self._busy = threading.Lock()

    def start(self, name: str, job: Job) -> None:
        """Start a job; raise a ValueError if another is running."""
        if not self._busy.acquire(blocking=False):
            raise ValueError(f"{name}: another job is running; wait until it has finished")
        threading.Thread(target=self._run, args=(name, job), name=name, daemon=True).start()

    def _run(self, name: str, job: Job) -> None:
        def progress(unit: str, done: int, total: int) -> None:
            self._show(f"{name}: {unit} {done} of {total}", 100 * done / max(total, 1))

        try:
            self._show(f"{name}: started", 0.0)
            files = job(progress)
            self._show("\n\n".join([f"{name}:", *(f"`{path}`" for path in files)]), None)
        except Exception as error:  # of any kind: the page shows it
            self._show(f"{name}: failed", None)
            self._on_error(error)
        finally:
            self._busy.release()


def next_free_path(folder: Path, stem: str, suffix: str = "") -> Path:
    """``stem_000`` in a folder, or the first such number that is free."""
    number = 0
    while (path := folder / f"{stem}_{number:03d}{suffix}").exists():
        number += 1
    return path


def save_still(folder: Path, pixels: UInt8[np.ndarray, "H W 3"]) -> list[Path]:
    """Add an image to the ``stills`` of a run's folder."""
    path = next_free_path(folder / "stills", "view", ".png")
    write_png(path, pixels / np.float32(255))
    return [path]


def save_video(
    scene: Trained, path: Cameras, size_hw: tuple[int, int], fps: float, progress: ProgressCallback
) -> list[Path]:
    """Render a video, one frame for each camera, in a new folder under the run's ``films``."""
    config = replace(scene.config.render, fps=fps, size=size_hw, downscale=1)
    folder = next_free_path(scene.run.folder / "films", "film")
    on_progress = functools.partial(progress, "frame")
    return render_video(scene, config, path, folder=folder, on_progress=on_progress)


def save_mesh(scene: Trained, crop: Crop | None, progress: ProgressCallback) -> list[Path]:
    """Export the mesh within a box, as ``run.py export`` does."""
    config = ExportConfig(parts=("mesh",), crop=None if crop is None else (*crop[0], *crop[1]))
    return export_scene(scene, config, scene.run.folder / "export", on_progress=progress)
