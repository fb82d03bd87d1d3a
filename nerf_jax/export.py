"""What people take away: pictures and videos. Nothing is ever left half-written."""

import contextlib
import importlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float, UInt8


def require(module: str, package: str) -> ModuleType:
    """Import an optional package.

    Raises:
        ImportError: it is missing; the message is the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{package} is needed here: pip install '{package}'") from error


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; renamed to ``path`` when all went well, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}-{path.name}")  # keeps the suffix: it names the format
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def to_uint8(image: Float[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """Values in [0, 1] rounded to 8 bits."""
    return np.round(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)


def write_png(path: Path, image: Float[np.ndarray, "H W 3"]) -> None:
    """Write a picture of values in [0, 1]."""
    pillow = require("PIL.Image", "pillow")
    with written_aside(path) as aside:
        pillow.fromarray(to_uint8(image)).save(aside)


def color_depth(
    depth: Float[np.ndarray, "*n"], opacity: Float[np.ndarray, "*n"], near: float, far: float
) -> Float[np.ndarray, "*n 3"]:
    """Depth as colour, red near and blue far, on white by opacity.

    Args:
        depth: distances in world units.
        opacity: in [0, 1].
        near, far: the distances at the two ends of the scale.
    """
    colormaps = require("matplotlib", "matplotlib").colormaps
    part = np.clip((depth - near) / max(far - near, 1e-9), 0.0, 1.0)
    colored = colormaps["turbo_r"](0.08 + 0.84 * part)[..., :3]  # its very ends are nearly black
    return (colored * opacity[..., None] + 1.0 - opacity[..., None]).astype(np.float32)


def depth_range(
    depth: Float[np.ndarray, "*n"], opacity: Float[np.ndarray, "*n"]
) -> tuple[float, float]:
    """The nearest and farthest distances among what is solid, leaving out one in fifty."""
    solid = depth[(opacity > 0.5) & np.isfinite(depth)]
    if not solid.size:
        return 0.0, 1.0
    low, high = np.percentile(solid, [1, 99])
    return float(low), float(high)


def write_video(path: Path, frames: Sequence[Float[np.ndarray, "H W 3"]], fps: float) -> None:
    """Write an H.264 video that plays everywhere. Odd sizes lose their last row or column.

    Raises:
        OSError: the encoder failed or cannot be found.
    """
    ffmpeg = require("imageio_ffmpeg", "imageio-ffmpeg").get_ffmpeg_exe()
    height, width = (size - size % 2 for size in frames[0].shape[:2])
    raw = b"".join(to_uint8(frame[:height, :width]).tobytes() for frame in frames)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)]
    codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart"]
    with written_aside(path) as aside:
        command = [ffmpeg, "-y", "-loglevel", "error", *source, "-i", "-", *codec, str(aside)]
        done = subprocess.run(command, input=raw, capture_output=True, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise OSError(f"{path}: the video could not be written: {said[-1:]}")
