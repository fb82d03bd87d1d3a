"""Videos and GIFs, encoded by ffmpeg."""

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_jax.app.images import to_uint8
from nerf_jax.data.files import atomic_write, optional_import


def ffmpeg() -> str:
    """The path of the ffmpeg executable; raises an ``OSError`` if there is none."""
    try:
        executable = optional_import("imageio_ffmpeg", "imageio-ffmpeg").get_ffmpeg_exe()
    except RuntimeError as error:
        raise OSError(str(error)) from error
    if not shutil.which(executable):
        raise OSError(f"no ffmpeg at {executable}: correct or unset IMAGEIO_FFMPEG_EXE")
    return executable


def write_video(path: Path, frames: Iterable[Float[np.ndarray, "H W 3"]], fps: float) -> None:
    """Write a GIF that repeats, or else an H.264 video that common players support.

    Each frame of a GIF has its own palette, so that no frame is read twice. A video of odd size
    loses its last row or column.

    Args:
        path: the file; its suffix names the format.
        frames: at least one, of values in [0, 1]; one at a time is in memory.
        fps: frames per second. For a GIF at most 50: its delays are whole hundredths of a second,
            and browsers show none below two.

    Raises:
        OSError: ffmpeg failed or was not found.
    """
    if path.suffix == ".gif":
        palette = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"
        options = ["-filter_complex", palette, "-loop", "0"]
    else:
        frames = (frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames)
        options = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18"]
        options += ["-movflags", "+faststart"]
    _encode(path, frames, fps, options)


def _encode(
    path: Path, frames: Iterable[Float[np.ndarray, "H W 3"]], fps: float, options: list[str]
) -> None:
    """Pipe frames through ffmpeg into a file."""
    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)]
    command = [ffmpeg(), "-y", "-loglevel", "error", *source, "-i", "-", *options]
    # Its messages go to a file: a pipe without a reader would fill up and block it.
    with atomic_write(path) as aside, tempfile.TemporaryFile() as messages:
        command.append(os.path.abspath(aside))  # ":" in other names is ffmpeg's own
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=messages)
        assert process.stdin
        try:
            # A broken pipe: ffmpeg has failed, and its messages say why.
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                for frame in itertools.chain([first], frames):
                    pipe.write(to_uint8(frame).tobytes())
        except BaseException:
            process.kill()
            raise
        finally:
            failed = process.wait()
        if failed:
            messages.seek(0)
            lines = messages.read().decode(errors="replace").strip().splitlines()
            raise OSError(f"{path}: the video could not be written: {'; '.join(lines)[:300]}")
