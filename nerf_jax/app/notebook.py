"""A trained scene in a notebook: a turn around it that plays, and the viewer to look around in.

The scene shows itself, with its scores: leave it as the last line of a cell.
"""

import html
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from nerf_jax import methods
from nerf_jax.app.images import to_uint8
from nerf_jax.app.report.pictures import data_uri
from nerf_jax.app.trained import Trained
from nerf_jax.app.video.trajectory import make_trajectory
from nerf_jax.data.files import atomic_write, optional_import


@dataclass(frozen=True)
class Animation:
    """Pictures that follow each other and begin again; a notebook plays them."""

    label: str
    gif: bytes
    still: bytes
    """The first picture as PNG, for where nothing moves."""

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
    """A turn around a scene, or what else its config films.

    Args:
        scene: what to look at.
        num_frames: of the whole turn. On a laptop, a frame takes a tenth of a second or so.
        size: of the longer side, in pixels.
        seconds: that a turn lasts.

    Raises:
        ValueError: the scene was given by rays and not by cameras; no frames, or none to be seen.
    """
    if num_frames < 1 or size < 1:
        raise ValueError(f"an orbit of {num_frames} frames of {size} pixels shows nothing")
    factor = size / max(scene.size_hw)
    height, width = (max(1, round(factor * side)) for side in scene.size_hw)
    wanted = replace(scene.config.render, num_frames=num_frames, size=(height, width), downscale=1)
    shot = make_trajectory(scene, wanted, None)
    frames = [scene.render(shot.cameras, n, shot.size_hw).rgb for n in range(shot.num_frames)]
    pictures = [to_uint8(np.asarray(frame)) for frame in frames]
    return animation(f"a turn around {scene.config.name}", pictures, seconds / len(pictures))


def animation(
    label: str, pictures: list[UInt8[np.ndarray, "H W 3"]], seconds_each: float
) -> Animation:
    """Pictures as a GIF that repeats, each with the palette that suits it."""
    pillow = optional_import("PIL.Image", "pillow")
    images = [pillow.fromarray(picture).quantize(128, dither=0) for picture in pictures]
    gif, still = io.BytesIO(), io.BytesIO()
    # Hundredths of a second, and browsers show none shorter than two.
    delay = max(20, round(100 * seconds_each) * 10)
    images[0].save(
        gif, "GIF", save_all=True, append_images=images[1:], duration=delay, loop=0, disposal=1
    )
    pillow.fromarray(pictures[0]).save(still, "PNG")
    return Animation(label, gif.getvalue(), still.getvalue())


@dataclass(frozen=True)
class Window:
    """The viewer within a notebook's page, open until it is closed."""

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
    """The viewer in a notebook on the same machine, or one that reaches the port through SSH.

    Args:
        scene: what to look around in.
        port: the first one to try.
        height: of the window, in pixels.

    Raises:
        ImportError: what the viewer needs is missing.
        OSError: no port is free.
        ValueError: the scene was given by rays and not by cameras.
    """
    parts = optional_import("nerf_jax.app.viewer", "nerf_jax[viewer]")
    photos = parts.Photos.of(scene.cameras(), scene.all_cameras.splits["train"])
    method = methods.build(scene.config)
    return Window(parts.Viewer(parts.Stage(scene), scene.config, method, photos, port), height)
