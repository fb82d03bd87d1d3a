"""Videos and images of a trained scene along a camera path.

A render takes long and may be interrupted, so each frame is saved to a file once it is rendered,
and a second call continues after the last one. Videos and images are made from these files at the
end, with one frame in memory at a time.
"""

from collections.abc import Callable
from pathlib import Path

from nerf_jax.app.ffmpeg import ffmpeg
from nerf_jax.app.processes import ALONE, Group
from nerf_jax.app.progress import say, track
from nerf_jax.app.trained import Trained
from nerf_jax.app.video.frames import Frames
from nerf_jax.app.video.outputs import write_outputs
from nerf_jax.app.video.trajectory import Trajectory, frame_size, make_trajectory
from nerf_jax.config import RenderConfig
from nerf_jax.data.files import optional_import, require_writable
from nerf_jax.types import Cameras

__all__ = ["frame_size", "render_video"]


def render_video(
    scene: Trained,
    config: RenderConfig,
    cameras: Cameras | None = None,
    *,
    folder: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    group: Group = ALONE,
) -> list[Path]:
    """Render a scene along a camera path: videos, image sequences, stills, and the depth scale.

    Frames of an earlier call with the same cameras, size and checkpoint are not rendered again;
    other frames of that name are deleted. Only one call at a time may use a path and a folder.

    Args:
        scene: the trained scene.
        config: the path, size, outputs and formats.
        cameras: one per frame, for images of :func:`frame_size`; by ``config.path`` if None.
        folder: for all files.
        on_progress: called with ``(done, total)`` after each frame.
        group: the processes that share the frames; all of them call this.

    Returns:
        The files and folders written; none in other processes than the first.

    Raises:
        ValueError: there are no frames, the camera-path file is invalid, or the scene was trained
            on rays without cameras.
        OSError: the folder is not writable, a file cannot be read, or ffmpeg was not found.
        ImportError: a package for one of the formats is not installed.
    """
    trajectory = make_trajectory(scene, config, cameras)
    _check(config, trajectory, folder)
    frames = Frames(folder / "frames" / trajectory.name, trajectory.num_frames)
    missing = group.from_first(lambda: frames.begin(trajectory, scene))
    total = trajectory.num_frames
    existing = total - len(missing)
    if existing:
        say(f"{existing} of {total} frames exist already, in {frames.folder}")
    label = f"render {trajectory.name}"
    for done, index in enumerate(track(group.share(missing), label, len(missing)), existing + 1):
        frames.write(index, scene.render(trajectory.cameras, index, trajectory.size_hw))
        on_progress(done, total)
    group.exchange("all frames are rendered")
    if not group.is_first:
        return []
    similarity = scene.all_cameras.world_from_original
    written = write_outputs(frames, trajectory, config, similarity, folder)
    if not config.keep_frames:
        frames.remove()
    return written


def _check(config: RenderConfig, trajectory: Trajectory, folder: Path) -> None:
    """Raise the errors that would otherwise follow an hour of rendering."""
    if {"mp4", "gif"} & set(config.formats):
        ffmpeg()
    if "exr" in config.formats:
        optional_import("OpenEXR", "nerf_jax[exr]")
    if "gif" in config.formats and trajectory.fps > 50:
        raise ValueError(
            f"render.fps is {trajectory.fps:g}, but a GIF has 50 frames per second at most; lower "
            "it, or remove gif from render.formats"
        )
    require_writable(folder)
