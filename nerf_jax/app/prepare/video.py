"""Chooses frames of a video: sharp, and spread evenly over the camera's motion.

ffmpeg decodes the video twice: small and grey to choose frames, then those at full size.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerf_jax.app.ffmpeg import ffmpeg
from nerf_jax.app.progress import track
from nerf_jax.data.files import optional_import

_SIZE_HW = (360, 640)
"""Of the grey frames, whatever the video's aspect: only consecutive frames are compared."""
_MAX_SELECTED = 1000
"""Frames that one call of ffmpeg selects: a command has at most 32 kB on Windows."""


def write_frames(video: Path, images: Path, count: int) -> list[int]:
    """Choose at most ``count`` frames, and write them as ``frame_00001.jpg`` and so on.

    The video's rotation is applied; frames that are in the folder already are replaced.

    Returns:
        The indices of the frames in the video.

    Raises:
        ValueError: ffmpeg cannot read the video, or it has fewer than three frames.
    """
    video = Path(os.path.abspath(video))  # ffmpeg reads "-" and ":" in names as its own
    sharpness, motion = [], [0.0]
    previous = None
    for frame in track(_grey_frames(video), "video", _num_frames(video)):
        small = frame.reshape(_SIZE_HW[0] // 4, 4, -1, 4).mean(axis=(1, 3))
        sharpness.append(_sharpness(frame))
        if previous is not None:
            motion.append(_motion(previous, small))
        previous = small
    if len(sharpness) < 3:
        raise ValueError(f"{video}: {len(sharpness)} frame(s), but at least 3 are needed")
    chosen = choose(np.array(sharpness), np.array(motion), count)
    _extract(video, images, chosen)
    return chosen


def choose(
    sharpness: Float[np.ndarray, " N"], motion: Float[np.ndarray, " N"], count: int
) -> list[int]:
    """The indices of the sharpest frame in each of ``count`` intervals with equal camera motion.

    Sharpness, and motion since the previous frame, are in any unit. An interval may be empty.
    """
    position = np.cumsum(motion)
    if not position[-1] > 0:
        position = np.arange(len(motion), dtype=float)
    interval = np.minimum(position / position[-1] * count, count - 1).astype(int)
    groups = (np.flatnonzero(interval == index) for index in np.unique(interval))
    return [int(frames[np.argmax(sharpness[frames])]) for frames in groups]


def _sharpness(frame: Float[np.ndarray, "H W"]) -> float:
    """The variance of the Laplacian, which blur reduces."""
    neighbours = frame[:-2, 1:-1] + frame[2:, 1:-1] + frame[1:-1, :-2] + frame[1:-1, 2:]
    return float(np.var(neighbours - 4 * frame[1:-1, 1:-1]))


def _motion(previous: Float[np.ndarray, "H W"], current: Float[np.ndarray, "H W"]) -> float:
    """The motion between two frames in pixels, roughly: mean difference over mean gradient."""
    down, right = np.gradient(current)
    # At least a grey level per pixel, so that noise on a uniform wall is not motion.
    gradient = max(float(np.mean(np.hypot(down, right))), 1.0)
    return float(np.mean(np.abs(current - previous))) / gradient


def _command(video: Path, *output: str) -> list[str]:
    source = ["-i", str(video), "-map", "0:v:0", "-fps_mode", "passthrough"]
    return [ffmpeg(), "-nostdin", "-loglevel", "error", "-y", *source, *output]


def _num_frames(video: Path) -> int:
    """The number of frames by the video's index, without decoding."""
    reader = optional_import("imageio_ffmpeg", "imageio-ffmpeg")
    try:
        return reader.count_frames_and_secs(str(video))[0]
    except RuntimeError as error:
        raise _unreadable(video, str(error)) from error


def _grey_frames(video: Path) -> Iterator[Float[np.ndarray, "H W"]]:
    height, width = _SIZE_HW
    grey = f"scale={width}:{height}:flags=area,format=gray"
    command = _command(video, "-vf", grey, "-f", "rawvideo", "-")
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        while len(raw := process.stdout.read(height * width)) == height * width:
            yield np.frombuffer(raw, np.uint8).reshape(height, width).astype(np.float32)
        if process.wait():
            errors.seek(0)
            raise _unreadable(video, errors.read().decode(errors="replace"))


def _extract(video: Path, images: Path, chosen: list[int]) -> None:
    """Write the chosen frames at full size; on failure the folder is unchanged."""
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=images.parent, prefix=".frames-") as folder:
        target = f"{folder.replace('%', '%%')}/frame_%05d.jpg"
        for start in range(0, len(chosen), _MAX_SELECTED):
            wanted = _any_of(chosen[start : start + _MAX_SELECTED])
            numbered = ["-q:v", "2", "-start_number", str(start + 1), target]
            command = _command(video, "-vf", f"select='{wanted}'", *numbered)
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                raise _unreadable(video, done.stderr.decode(errors="replace"))
        for path in sorted(Path(folder).iterdir()):
            path.replace(images / path.name)


def _any_of(frames: list[int]) -> str:
    """Ffmpeg's expression for any of some frames, nested as a balanced tree: ffmpeg limits the
    depth of expressions, and a sum of 100 terms is too deep.
    """
    if len(frames) == 1:
        return f"eq(n\\,{frames[0]})"
    middle = len(frames) // 2
    return f"({_any_of(frames[:middle])}+{_any_of(frames[middle:])})"


def _unreadable(video: Path, output: str) -> ValueError:
    lines = output.strip().splitlines() or ["no message"]
    return ValueError(
        f"{video}: ffmpeg cannot read it as a video ({lines[-1].strip()}); check that it plays, "
        "convert it to MP4, or pass a folder of photos"
    )
