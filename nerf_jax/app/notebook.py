"""A trained scene in a notebook: an animated orbit, a page that stays in it, and the viewer.

The scene itself is displayed with its scores if it is the last line of a cell.
"""

import html
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nerf_jax.app.ffmpeg import write_video
from nerf_jax.app.images import write_png
from nerf_jax.app.page import Bits, page_html
from nerf_jax.app.report.pages import write_text
from nerf_jax.app.report.pictures import data_uri
from nerf_jax.app.trained import Trained
from nerf_jax.app.video.trajectory import make_trajectory
from nerf_jax.data.files import atomic_write, optional_import


@dataclass(frozen=True)
class Animation:
    """A GIF that repeats, displayed by a notebook."""

    label: str
    gif: bytes
    still: bytes
    """The first frame as PNG, for displays without animation."""

    def save(self, path: Path | str) -> Path:
        """Write the GIF."""
        path = Path(path)
        with atomic_write(path) as aside:
            aside.write_bytes(self.gif)
        return path

    def __repr__(self) -> str:
        return f"Animation({self.label!r}, {len(self.gif):,} bytes)"

    def _repr_html_(self) -> str:
        return f'<img alt="{html.escape(self.label)}" src="{data_uri(self.gif, "image/gif")}">'

    def _repr_png_(self) -> bytes:
        return self.still


def orbit(
    scene: Trained, num_frames: int = 24, size: int = 128, *, seconds: float = 3.0
) -> Animation:
    """Animate a scene along an orbit, or along the path that its config names.

    Args:
        scene: the trained scene.
        num_frames: of the whole path. On a laptop, a frame takes about a tenth of a second.
        size: of the longer side, in pixels.
        seconds: duration of the whole path.

    Raises:
        ValueError: ``num_frames`` or ``size`` is below 1, or the scene was trained on rays
            without cameras.
    """
    if num_frames < 1 or size < 1:
        raise ValueError(f"an orbit of {num_frames} frames of {size} pixels is empty; ask for more")
    factor = size / max(scene.size_hw)
    height, width = (max(1, round(factor * side)) for side in scene.size_hw)
    config = replace(scene.config.render, num_frames=num_frames, size=(height, width), downscale=1)
    trajectory = make_trajectory(scene, config, None)
    count = trajectory.num_frames
    renderings = (scene.render(trajectory.cameras, i, trajectory.size_hw) for i in range(count))
    frames = [np.asarray(rendering.rgb) for rendering in renderings]
    with tempfile.TemporaryDirectory() as folder:
        gif, still = Path(folder) / "orbit.gif", Path(folder) / "still.png"
        write_video(gif, frames, 1 / max(0.02, seconds / count))
        write_png(still, frames[0])
        label = f"{trajectory.name} of {scene.config.name}"
        return Animation(label, gif.read_bytes(), still.read_bytes())


@dataclass(frozen=True)
class Page:
    """A scene as a web page in that of a notebook, with which it is saved: it needs no server."""

    content: str
    """The page itself."""
    height: int

    def save(self, path: Path | str) -> Path:
        """Write the page."""
        return write_text(Path(path), self.content)

    def __repr__(self) -> str:
        return f"Page({len(self.content):,} bytes)"

    def _repr_html_(self) -> str:
        size = f'width="100%" height="{self.height}" allow="fullscreen"'
        source = html.escape(self.content)
        return f'<iframe title="scene" srcdoc="{source}" {size} style="border: 0"></iframe>'


def page(scene: Trained, *, height: int = 480, bits: Bits = 8) -> Page:
    """Embed a scene in a notebook, also in one that is saved or published.

    Args:
        scene: the trained scene.
        height: of the page, in pixels.
        bits: of a feature: 8, to keep the notebook small, or 16.

    Raises:
        ValueError: a page cannot hold the scene, or it was trained on rays without cameras.
    """
    return Page(page_html(scene, bits), height)


@dataclass(frozen=True)
class Window:
    """The viewer in a notebook's page, until it is closed."""

    viewer: Any
    height: int

    def close(self) -> None:
        """Close the viewer."""
        self.viewer.close()

    def __repr__(self) -> str:
        return f"Window({self.viewer.url!r})"

    def _repr_html_(self) -> str:
        size = f'width="100%" height="{self.height}"'
        return f'<iframe title="viewer" src="{self.viewer.url}" {size} style="border: 0"></iframe>'


def viewer(scene: Trained, *, port: int = 8080, height: int = 560) -> Window:
    """Open the viewer in a notebook on the same machine, or on one that forwards the port.

    Args:
        scene: the trained scene.
        port: the first one to try.
        height: of the window, in pixels.

    Raises:
        ImportError: the viewer's packages are not installed.
        OSError: no port is free.
        ValueError: the scene was trained on rays without cameras.
    """
    parts = optional_import("nerf_jax.app.viewer", "nerf_jax[viewer]")
    return Window(parts.open_viewer(scene, port), height)
