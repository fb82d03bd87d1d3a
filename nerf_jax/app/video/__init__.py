"""A trained scene, filmed along a path of cameras.

A render takes long, and is broken off: each frame is kept as a file as soon as it was seen, and a
second call goes on behind the last. Pictures and videos are made of those files at the end, one
frame in memory at a time.
"""

from collections.abc import Callable
from pathlib import Path

from nerf_jax.app.ffmpeg import ffmpeg
from nerf_jax.app.progress import say, track
from nerf_jax.app.trained import Trained
from nerf_jax.app.video.frames import Frames
from nerf_jax.app.video.outputs import develop
from nerf_jax.app.video.trajectory import Trajectory, frame_size, make_trajectory
from nerf_jax.config import RenderConfig
from nerf_jax.data.files import optional_import, require_writable
from nerf_jax.types import Cameras

__all__ = ["frame_size", "render_video"]


def render_video(
    scene: Trained,
    wanted: RenderConfig,
    path: Cameras | None = None,
    *,
    folder: Path,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Render a way around or past the scene: videos, frames, a few stills, and depth's scale.

    What an earlier call with the same cameras, size and checkpoint has seen is not rendered again;
    with any other, that is dropped. One call at a time for each path in a folder.

    Args:
        scene: what to film.
        wanted: which way, how large, and as what.
        path: the cameras, for images of :func:`frame_size`; those that ``wanted.path`` names if
            None.
        folder: where everything goes.
        tell: called with ``(done, total)`` after each frame.

    Returns:
        The files and folders written.

    Raises:
        ValueError: there is no frame to render, the path's file is not as it should be, or the
            scene was given by rays and not by cameras.
        OSError: the folder cannot be written to, or there is no ffmpeg.
        ImportError: a package that a format needs is missing.
    """
    shot = make_trajectory(scene, wanted, path)
    _check(shot, wanted, folder)
    frames = Frames.open(folder / "frames" / shot.name, shot, scene)
    missing = frames.missing()
    total = shot.num_frames
    seen = total - len(missing)
    if seen:
        say(f"{seen} of {total} frames are there already, in {frames.folder}")
    for done, number in enumerate(track(missing, f"render {shot.name}", len(missing)), seen + 1):
        frames.write(number, scene.render(shot.cameras, number, shot.size_hw))
        tell(done, total)
    written = develop(frames, shot, wanted, scene.all_cameras.world_from_original, folder)
    if not wanted.keep_frames:
        frames.remove()
    return written


def _check(shot: Trajectory, wanted: RenderConfig, folder: Path) -> None:
    """Better said before an hour of rendering than after it."""
    if {"mp4", "gif"} & set(wanted.formats):
        ffmpeg()
    if "exr" in wanted.formats:
        optional_import("OpenEXR", "nerf_jax[exr]")
    if "gif" in wanted.formats and shot.fps > 50:
        raise ValueError(
            f"render.fps is {shot.fps:g}, but a GIF has 50 frames a second at most; lower it, or "
            "leave gif out of render.formats"
        )
    require_writable(folder)
