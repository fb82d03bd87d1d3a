"""What people take away: pictures and videos. Nothing is ever left half-written."""

import contextlib
import importlib
import itertools
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float, UInt8, UInt16


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


def to_uint16(image: Float[np.ndarray, "*n"]) -> UInt16[np.ndarray, "*n"]:
    """Values in [0, 1] rounded to 16 bits."""
    return np.round(np.clip(image, 0.0, 1.0) * 65535).astype(np.uint16)


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


def write_png16(path: Path, values: UInt16[np.ndarray, "H W *C"]) -> None:
    """Write a PNG of 16 bits a channel, grey or RGB: Pillow knows no such RGB.

    ISO/IEC 15948: a signature, and chunks of a length, a name, data and a checksum.
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    height, width = values.shape[:2]
    kind = 0 if values.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    unfiltered = np.pad(rows, ((0, 0), (1, 0)))  # each row says first how it is filtered: not
    data = zlib.compress(unfiltered.tobytes(), level=6)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    with written_aside(path) as aside:
        aside.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def write_exr(path: Path, channels: Mapping[str, Float[np.ndarray, "H W"]]) -> None:
    """Write an OpenEXR picture of float32 channels, without loss.

    Raises:
        ImportError: the package is missing.
    """
    exr = require("OpenEXR", "nerf_jax[exr]")
    header = {"type": exr.scanlineimage, "compression": exr.ZIP_COMPRESSION}
    content = {name: np.ascontiguousarray(each, np.float32) for name, each in channels.items()}
    with written_aside(path) as aside:
        exr.File(header, content).write(str(aside))


def ffmpeg() -> str:
    """The path of ffmpeg.

    Raises:
        OSError: there is none.
    """
    try:
        executable = require("imageio_ffmpeg", "imageio-ffmpeg").get_ffmpeg_exe()
    except RuntimeError as error:
        raise OSError(str(error)) from error
    if not shutil.which(executable):
        raise OSError(f"no ffmpeg at {executable}: correct or unset IMAGEIO_FFMPEG_EXE")
    return executable


def write_video(path: Path, frames: Iterable[Float[np.ndarray, "H W 3"]], fps: float) -> None:
    """Write an H.264 video that plays everywhere. Odd sizes lose their last row or column.

    Args:
        path: the file, ``.mp4``.
        frames: at least one, of values in [0, 1]; one at a time is held.
        fps: frames a second.

    Raises:
        OSError: the encoder failed or cannot be found.
    """
    even = (frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames)
    codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart"]
    _encode(path, even, fps, codec)


def write_gif(path: Path, frames: Iterable[Float[np.ndarray, "H W 3"]], fps: float) -> None:
    """Write a GIF that repeats, each frame with the palette that suits it.

    One palette for all of them would have to see all of them first.

    Args:
        path: the file, ``.gif``.
        frames: at least one, of values in [0, 1]; one at a time is held.
        fps: frames a second, 50 at most: delays are whole hundredths, and browsers show none
            shorter than two.

    Raises:
        OSError: the encoder failed or cannot be found.
    """
    palette = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"
    _encode(path, frames, fps, ["-filter_complex", palette, "-loop", "0"])


def _encode(
    path: Path, frames: Iterable[Float[np.ndarray, "H W 3"]], fps: float, options: list[str]
) -> None:
    """Frames through ffmpeg, into a file whose suffix names its format."""
    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)]
    command = [ffmpeg(), "-y", "-loglevel", "error", *source, "-i", "-", *options]
    # What it says goes to a file: a pipe that nobody reads would fill and stop it.
    with written_aside(path) as aside, tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*command, str(aside)], stdin=subprocess.PIPE, stderr=said)
        assert process.stdin
        try:
            # A broken pipe: it has given up, and says why below.
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                for frame in itertools.chain([first], frames):
                    pipe.write(to_uint8(frame).tobytes())
        except BaseException:
            process.kill()
            raise
        finally:
            failed = process.wait()
        if failed:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            raise OSError(f"{path}: the video could not be written: {'; '.join(lines)[:300]}")
