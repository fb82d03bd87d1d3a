"""Frames of a video that are worth keeping: as many as asked, sharp, and the camera moved between.

ffmpeg decodes the video twice: small and grey to choose, then the chosen frames in full.
"""

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
"""Of the grey frames, whatever the video's shape: only one frame and the next are compared."""


def write_frames(video: Path, images: Path, count: int) -> list[int]:
    """Choose frames of a video, and write them as ``frame_00001.jpg`` and so on.

    Args:
        video: any that ffmpeg reads; one that is to be turned is turned.
        images: a folder, made if need be; frames already there are replaced.
        count: how many, at most.

    Returns:
        The numbers of the frames in the video, from 0.

    Raises:
        ValueError: ffmpeg cannot read the video, or it has fewer than three frames.
        OSError: ``images`` cannot be written to.
    """
    sharpness, motion = [], [0.0]
    before = None
    for frame in track(_grey_frames(video), "video", _length(video)):
        small = frame.reshape(_SIZE_HW[0] // 4, 4, -1, 4).mean(axis=(1, 3))
        sharpness.append(_sharpness(frame))
        if before is not None:
            motion.append(_motion(before, small))
        before = small
    if len(sharpness) < 3:
        raise ValueError(f"{video}: {len(sharpness)} frame(s), but poses take at least 3")
    chosen = choose(np.array(sharpness), np.array(motion), count)
    _write(video, images, chosen)
    return chosen


def choose(
    sharpness: Float[np.ndarray, " N"], motion: Float[np.ndarray, " N"], count: int
) -> list[int]:
    """The sharpest frame of each of ``count`` stretches in which the camera moves equally far.

    Args:
        sharpness: of each frame, in any unit.
        motion: since the frame before, in any unit.
        count: of stretches; some may hold no frame.

    Returns:
        Frame numbers, ascending.
    """
    way = np.cumsum(motion)
    if not way[-1] > 0:
        way = np.arange(len(motion), dtype=float)
    stretch = np.minimum(way / way[-1] * count, count - 1).astype(int)
    chosen = []
    for number in np.unique(stretch):
        frames = np.flatnonzero(stretch == number)
        chosen.append(int(frames[np.argmax(sharpness[frames])]))
    return chosen


def _sharpness(frame: Float[np.ndarray, "H W"]) -> float:
    """The variance of the Laplacian: blur takes it away."""
    middle = frame[1:-1, 1:-1]
    around = frame[:-2, 1:-1] + frame[2:, 1:-1] + frame[1:-1, :-2] + frame[1:-1, 2:]
    return float(np.var(around - 4 * middle))


def _motion(before: Float[np.ndarray, "H W"], now: Float[np.ndarray, "H W"]) -> float:
    """Roughly how many pixels things moved: by how much they changed, over how steep they are."""
    down, right = np.gradient(now)
    # The least slope: a grey level a pixel, so that noise on a blank wall is no motion.
    steepness = max(float(np.mean(np.hypot(down, right))), 1.0)
    return float(np.mean(np.abs(now - before))) / steepness


def _ffmpeg() -> list[str]:
    return [ffmpeg(), "-nostdin", "-loglevel", "error", "-y"]


def _length(video: Path) -> int:
    """How many frames a video has, by its index and without decoding them."""
    try:
        return optional_import("imageio_ffmpeg", "imageio-ffmpeg").count_frames_and_secs(
            str(video)
        )[0]
    except RuntimeError as error:
        raise _unreadable(video, str(error)) from error


def _grey_frames(video: Path) -> Iterator[Float[np.ndarray, "H W"]]:
    height, width = _SIZE_HW
    grey = ["-vf", f"scale={width}:{height}:flags=area,format=gray", "-f", "rawvideo", "-"]
    command = [*_ffmpeg(), "-i", str(video), "-map", "0:v:0", "-fps_mode", "passthrough", *grey]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        assert process.stdout is not None
        while len(raw := process.stdout.read(height * width)) == height * width:
            yield np.frombuffer(raw, np.uint8).reshape(height, width).astype(np.float32)
        if process.wait():
            complaints.seek(0)
            raise _unreadable(video, complaints.read().decode(errors="replace"))


def _write(video: Path, images: Path, chosen: list[int]) -> None:
    """The chosen frames, in full; the folder holds all of them or as before."""
    images.mkdir(parents=True, exist_ok=True)
    wanted = "+".join(f"eq(n\\,{number})" for number in chosen)
    frames = ["-vf", f"select='{wanted}'", "-fps_mode", "passthrough", "-q:v", "2"]
    with tempfile.TemporaryDirectory(dir=images.parent, prefix=".frames-") as aside:
        target = str(Path(aside) / "frame_%05d.jpg")
        command = [*_ffmpeg(), "-i", str(video), "-map", "0:v:0", *frames, target]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise _unreadable(video, done.stderr.decode(errors="replace"))
        for path in sorted(Path(aside).iterdir()):
            path.replace(images / path.name)


def _unreadable(video: Path, said: str) -> ValueError:
    lines = said.strip().splitlines() or ["it said nothing"]
    return ValueError(
        f"{video}: ffmpeg cannot read it as a video ({lines[-1].strip()}); play it to see whether "
        "it is whole, convert it to MP4, or pass a folder of photos"
    )
