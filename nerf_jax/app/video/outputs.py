"""Rendered frames written as videos, as images, and as images of numerical values.

Videos and 8-bit images show normals in the scene's world, z up, and the distance from the camera by
one colour scale for all frames. Numerical values are in the frame and the units of the dataset's
files. Their depth is along the camera's axis, as in the depth images of TUM and nerfstudio, and 0
for pixels that show no surface.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from nerf_jax.app import images
from nerf_jax.app.ffmpeg import write_video
from nerf_jax.app.normals import color_normals, normals
from nerf_jax.app.progress import say, track
from nerf_jax.app.video.frames import Frame, Frames
from nerf_jax.app.video.trajectory import Trajectory
from nerf_jax.cameras import axis_cosines
from nerf_jax.config import RenderConfig
from nerf_jax.data.files import optional_import, write_json
from nerf_jax.data.images import srgb_to_linear

_NUM_SAMPLES = 2**20
"""Pixels of all frames together from which the depth scale is computed."""


def write_outputs(
    frames: Frames,
    trajectory: Trajectory,
    config: RenderConfig,
    world_from_original: Float[np.ndarray, "4 4"],
    folder: Path,
) -> list[Path]:
    """Write all outputs in all formats, stills, and the depth scale; return their paths."""
    scale = depth_scale(frames)
    writer = OutputWriter(frames, trajectory, config.depth_unit, world_from_original, scale, folder)
    jobs = [(output, file_format) for output in config.outputs for file_format in config.formats]
    written = [writer.write(*job) for job in track(jobs, "write", len(jobs))]
    for index in range(0, frames.count, max(1, frames.count // 4)):
        frame = frames.read(index)
        for output in config.outputs:
            still = writer.picture(output, index, frame)
            images.write_png(folder / "stills" / f"{index:03d}_{output}.png", still)
    if "depth" in config.outputs:
        written.append(writer.write_depth_scale("png16" in config.formats))
    return [*written, folder / "stills"]


def depth_scale(frames: Frames) -> tuple[float, float]:
    """The depth range of all frames together, from a sample of their pixels."""
    max_samples = max(1, _NUM_SAMPLES // frames.count)  # of a frame
    samples: list[tuple[np.ndarray, np.ndarray]] = []
    for frame in frames:
        step = -(-frame.depth.size // max_samples)
        # Copies: views would keep all frames in memory.
        samples.append((frame.depth.ravel()[::step].copy(), frame.opacity.ravel()[::step].copy()))
    depth, opacity = (np.concatenate(each) for each in zip(*samples, strict=True))
    return images.depth_range(depth, opacity)


@dataclass(frozen=True)
class OutputWriter:
    """Writes the frames of one trajectory."""

    frames: Frames
    trajectory: Trajectory
    depth_unit: float
    world_from_original: Float[np.ndarray, "4 4"]
    scale: tuple[float, float]
    """Nearest and farthest distance of coloured depth, in world units."""
    folder: Path

    @property
    def unit(self) -> float:
        """World units in one unit of the dataset's files."""
        return float(np.cbrt(np.linalg.det(self.world_from_original[:3, :3])))

    def write(self, output: str, file_format: str) -> Path:
        """Write one output of all frames; return the path of the video or of the images' folder."""
        name = self.trajectory.name
        stem = name if output == "color" else f"{name}_{output}"
        if file_format in ("mp4", "gif"):
            path = self.folder / f"{stem}.{file_format}"
            pictures = (self.picture(output, *each) for each in enumerate(self.frames))
            write_video(path, pictures, self.trajectory.fps)
            return path
        path = self.folder / f"{stem}_{file_format}"
        suffix = "exr" if file_format == "exr" else "png"
        for old in path.glob(f"[0-9]*.{suffix}"):  # of an earlier, longer trajectory
            old.unlink()
        for index, frame in enumerate(self.frames):
            image = path / f"{index:05d}.{suffix}"
            if file_format == "exr":
                images.write_exr(image, self._channels(output, index, frame))
            elif file_format == "png16" and output == "depth":
                steps = np.round(self._depth(index, frame) / self.depth_unit)
                images.write_png16(image, np.minimum(steps, 65535).astype(np.uint16))
            elif file_format == "png16":
                images.write_png16(image, images.to_uint16(self.picture(output, index, frame)))
            else:
                images.write_png(image, self.picture(output, index, frame))
        return path

    def picture(self, output: str, index: int, frame: Frame) -> Float[np.ndarray, "H W 3"]:
        """An output as colours in [0, 1]."""
        if output == "color":
            return frame.color
        if output == "depth":
            return images.color_depth(frame.depth, frame.opacity, *self.scale)
        return color_normals(self._normals(index, frame), frame.opacity)

    def _channels(
        self, output: str, index: int, frame: Frame
    ) -> dict[str, Float[np.ndarray, "H W"]]:
        """An output as the channels of an OpenEXR image."""
        if output == "depth":
            return {"Z": self._depth(index, frame)}
        if output == "normals":
            world_from_original = self.world_from_original[:3, :3] / self.unit
            original = self._normals(index, frame) @ world_from_original
            return {f"N.{axis}": original[..., i] for i, axis in enumerate("XYZ")}
        linear = srgb_to_linear(frame.color)
        return {name: linear[..., i] for i, name in enumerate("RGB")}

    def _normals(self, index: int, frame: Frame) -> Float[np.ndarray, "H W 3"]:
        camera = jax.tree.map(lambda leaf: leaf[index : index + 1], self.trajectory.cameras)
        return normals(frame.depth, frame.opacity, camera, self.trajectory.size_hw)

    def _depth(self, index: int, frame: Frame) -> Float[np.ndarray, "H W"]:
        """Along the camera's axis, in units of the dataset's files; 0 without a surface."""
        cosines = axis_cosines(self.trajectory.cameras, index, self.trajectory.size_hw)
        solid = (frame.opacity > 0.5) & np.isfinite(frame.depth)
        return np.where(solid, frame.depth * np.asarray(cosines) / self.unit, 0.0)

    def write_depth_scale(self, has_png16: bool) -> Path:
        """Write the meaning of depth's colours and numbers: in the log, as an image, as JSON."""
        near, far = (bound / self.unit for bound in self.scale)
        say(f"depth from {near:.4g} (red) to {far:.4g} (blue), in units of the dataset's files")
        limit = 65535 * self.depth_unit
        if has_png16 and far > limit:
            say(f"  png16 depth is cut off at {limit:g}: raise --depth-unit")
        images.write_png(self.folder / "stills" / "depth_scale.png", plot_depth_scale(near, far))
        path = self.folder / f"{self.trajectory.name}_depth.json"
        content = {
            "unit": "that of the dataset's files",
            "world_units_in_a_unit": self.unit,
            "colors": {"measure": "distance from the camera", "red": near, "blue": far},
            "png16": {"measure": "depth along the camera's axis", "step": self.depth_unit},
            "exr": {"measure": "depth along the camera's axis"},
            "nothing": "white in colours, 0 in numbers",
        }
        write_json(path, content)
        return path


def plot_depth_scale(near: float, far: float) -> Float[np.ndarray, "H W 3"]:
    """A labelled bar of the colours of depth from ``near`` to ``far``."""
    optional_import("matplotlib", "matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 0.9), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    far = max(far, near + 1e-9)
    bar = np.linspace(near, far, 512)[None]
    colors = images.color_depth(bar, np.ones_like(bar), near, far)
    axes.imshow(colors, extent=(near, far, 0, 1), aspect="auto")
    axes.set_yticks([])
    axes.set_xlabel("distance from the camera, in units of the dataset's files", fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / np.float32(255)
