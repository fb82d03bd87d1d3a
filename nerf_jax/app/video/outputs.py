"""Frames developed: as videos, as pictures, and as numbers to compute with.

Pictures show normals in the scene's world, z up, and depth as the distance from the camera, by one
scale for all frames. What is written as numbers is in the frame and the units of the dataset's
files: depth along the camera's axis, as TUM's and nerfstudio's depth images have it, and 0 where
nothing is.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax.app.ffmpeg import write_gif, write_video
from nerf_jax.app.images import (
    color_depth,
    depth_range,
    to_uint16,
    write_exr,
    write_png,
    write_png16,
)
from nerf_jax.app.normals import color_normals, normals
from nerf_jax.app.progress import say, track
from nerf_jax.app.video.frames import Frame, Frames
from nerf_jax.app.video.trajectory import Trajectory
from nerf_jax.config import RenderConfig
from nerf_jax.data.files import atomic_write, optional_import
from nerf_jax.lenses import from_image_plane
from nerf_jax.types import Cameras

_SAMPLES = 2**20
"""Of all frames' depths together, for their scale."""


def develop(
    frames: Frames,
    shot: Trajectory,
    wanted: RenderConfig,
    world_from_original: Float[np.ndarray, "4 4"],
    folder: Path,
) -> list[Path]:
    """Make of the frames what is wanted, a frame at a time.

    Returns:
        The files and folders written.
    """
    lab = Lab(frames, shot, wanted.depth_unit, world_from_original, depth_scale(frames))
    jobs = [(output, form) for output in wanted.outputs for form in wanted.formats]
    written = [lab.write(*job, folder) for job in track(jobs, "write", len(jobs))]
    for number in range(0, frames.count, max(1, frames.count // 4)):
        for output in wanted.outputs:
            still = lab.picture(output, number, frames.read(number))
            write_png(folder / "stills" / f"{number:03d}_{output}.png", still)
    if "depth" in wanted.outputs:
        written.append(lab.write_scale(folder, "png16" in wanted.formats))
    return [*written, folder / "stills"]


def depth_scale(frames: Frames) -> tuple[float, float]:
    """The range of the depths of all frames, by some of their pixels: one that flickers says
    nothing.
    """
    share = max(1, _SAMPLES // frames.count)
    samples: list[tuple[np.ndarray, np.ndarray]] = []
    for frame in frames:
        step = -(-frame.depth.size // share)
        # Copies: a view would keep its frame.
        few = (frame.depth.ravel()[::step].copy(), frame.opacity.ravel()[::step].copy())
        samples.append(few)
    depth, opacity = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    return depth_range(depth, opacity)


@dataclass(frozen=True)
class Lab:
    """All there is to know to make something of a frame."""

    frames: Frames
    shot: Trajectory
    depth_unit: float
    world_from_original: Float[np.ndarray, "4 4"]
    scale: tuple[float, float]
    """Of coloured depth, in world units."""

    @property
    def unit(self) -> float:
        """World units in one unit of the dataset's files."""
        return float(np.cbrt(np.linalg.det(self.world_from_original[:3, :3])))

    def write(self, output: str, form: str, folder: Path) -> Path:
        """All frames of one output in one format; the file or the folder they are in."""
        stem = self.shot.name if output == "color" else f"{self.shot.name}_{output}"
        videos = {"mp4": write_video, "gif": write_gif}
        if form in videos:
            path = folder / f"{stem}.{form}"
            shown = (self.picture(output, *each) for each in enumerate(self.frames))
            videos[form](path, shown, self.shot.fps)
            return path
        path = folder / f"{stem}_{form}"
        suffix = "exr" if form == "exr" else "png"
        for old in path.glob(f"[0-9]*.{suffix}"):  # a longer path's
            old.unlink()
        save = {"png": self._save_png, "png16": self._save_png16, "exr": self._save_exr}[form]
        for number, frame in enumerate(self.frames):
            save(path / f"{number:05d}.{suffix}", output, number, frame)
        return path

    def picture(self, output: str, number: int, frame: Frame) -> Float[np.ndarray, "H W 3"]:
        """To look at, in [0, 1]."""
        if output == "color":
            return frame.color
        if output == "depth":
            return color_depth(frame.depth, frame.opacity, *self.scale)
        return color_normals(self._normals(number, frame), frame.opacity)

    def _save_png(self, path: Path, output: str, number: int, frame: Frame) -> None:
        write_png(path, self.picture(output, number, frame))

    def _save_png16(self, path: Path, output: str, number: int, frame: Frame) -> None:
        if output == "depth":
            steps = np.round(self._depth(number, frame) / self.depth_unit)
            write_png16(path, np.minimum(steps, 65535).astype(np.uint16))
        else:
            write_png16(path, to_uint16(self.picture(output, number, frame)))

    def _save_exr(self, path: Path, output: str, number: int, frame: Frame) -> None:
        if output == "depth":
            channels = {"Z": self._depth(number, frame)}
        elif output == "normals":
            turned = self._normals(number, frame) @ (self.world_from_original[:3, :3] / self.unit)
            channels = {f"N.{axis}": turned[..., i] for i, axis in enumerate("XYZ")}
        else:
            linear = to_linear(frame.color)
            channels = {name: linear[..., i] for i, name in enumerate("RGB")}
        write_exr(path, channels)

    def _normals(self, number: int, frame: Frame) -> Float[np.ndarray, "H W 3"]:
        return normals(frame.depth, frame.opacity, self._camera(number), self.shot.size_hw)

    def _depth(self, number: int, frame: Frame) -> Float[np.ndarray, "H W"]:
        """Along the camera's axis, in units of the dataset's files; 0 where nothing is."""
        cosines = np.asarray(_cosines(self._camera(number), self.shot.size_hw))
        solid = (frame.opacity > 0.5) & np.isfinite(frame.depth)
        return np.where(solid, frame.depth * cosines / self.unit, 0.0)

    def _camera(self, number: int) -> Cameras:
        return jax.tree.map(lambda leaf: leaf[number : number + 1], self.shot.cameras)

    def write_scale(self, folder: Path, is_stepped: bool) -> Path:
        """What depth's colours and numbers mean: told, drawn beside the stills, and as JSON.

        Args:
            folder: where.
            is_stepped: whether there are pictures with depth in steps, which may be too few.
        """
        near, far = (bound / self.unit for bound in self.scale)
        say(f"depth from {near:.4g} (red) to {far:.4g} (blue), in units of the dataset's files")
        reach = 65535 * self.depth_unit
        if is_stepped and far > reach:
            say(f"  png16 ends at {reach:g}, and the scene does not: raise --depth-unit")
        write_png(folder / "stills" / "depth_scale.png", draw_scale(near, far))
        path = folder / f"{self.shot.name}_depth.json"
        content: dict[str, Any] = {
            "unit": "that of the dataset's files",
            "world_units_in_a_unit": self.unit,
            "colors": {"measure": "distance from the camera", "red": near, "blue": far},
            "png16": {"measure": "depth along the camera's axis", "step": self.depth_unit},
            "exr": {"measure": "depth along the camera's axis"},
            "nothing": "white in colours, 0 in numbers",
        }
        with atomic_write(path) as aside:
            aside.write_text(json.dumps(content, indent=2) + "\n")
        return path


@functools.partial(jax.jit, static_argnums=1)
def _cosines(camera: Cameras, size_hw: tuple[int, int]) -> Float[Array, "H W"]:
    """Between the rays through an image's pixels and the camera's axis."""
    lens, focal, principal = jax.tree.map(
        lambda leaf: leaf[0], (camera.lens, camera.focal, camera.principal)
    )

    def cosine(row: Array, column: Array) -> Array:
        place = (jnp.stack([column, row]) + 0.5 - principal) / focal
        direction = from_image_plane(lens, place)
        return -direction[2] / jnp.linalg.norm(direction)

    rows, columns = (jnp.arange(side) for side in size_hw)
    return jax.vmap(jax.vmap(cosine, (None, 0)), (0, None))(rows, columns)


def to_linear(srgb: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Light, of which sRGB is the encoding (IEC 61966-2-1): what an EXR is taken to hold."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def draw_scale(near: float, far: float) -> Float[np.ndarray, "H W 3"]:
    """The colours of depth from ``near`` to ``far`` as a bar with numbers."""
    optional_import("matplotlib", "matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 0.9), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    far = max(far, near + 1e-9)
    bar = np.linspace(near, far, 512)[None]
    axes.imshow(
        color_depth(bar, np.ones_like(bar), near, far), extent=(near, far, 0, 1), aspect="auto"
    )
    axes.set_yticks([])
    axes.set_xlabel("distance from the camera, in units of the dataset's files", fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / np.float32(255)
