"""A trained scene, filmed along a path of cameras."""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nerf_jax.cameras import orbit_path, resize, tour_path
from nerf_jax.export import color_depth, depth_range, write_png, write_video
from nerf_jax.progress import track
from nerf_jax.trained import Trained
from nerf_jax.types import Rendering


def film(scene: Trained) -> list[Path]:
    """The video of a way around or past the scene, its depth, and four stills of each.

    Args:
        scene: its config's ``render`` part says which way, and how many frames.

    Returns:
        The files written, in the run's folder.

    Raises:
        ValueError: the scene was given by rays and not by cameras.
    """
    wanted, folder = scene.config.render, scene.run.folder
    cameras = scene.cameras()
    if wanted.path == "orbit":
        path = orbit_path(cameras, wanted.num_frames, wanted.elevation_degrees)
    else:
        path = tour_path(cameras, wanted.num_frames)
    path = jax.tree.map(jnp.asarray, resize(path, 1 / wanted.downscale))
    height, width = (max(1, side // wanted.downscale) for side in scene.size_hw)

    def seen() -> Iterator[Rendering]:
        for frame in track(range(wanted.num_frames), "render", wanted.num_frames):
            yield scene.see(path, frame, (height, width))

    frames = list(seen())
    colors = [np.asarray(frame.rgb) for frame in frames]
    depth = np.stack([np.asarray(frame.median_depth) for frame in frames])
    opacity = np.stack([np.asarray(frame.opacity) for frame in frames])
    # One scale for the whole turn: a depth that flickers says nothing.
    depths = list(color_depth(depth, opacity, *depth_range(depth, opacity)))
    videos = {f"{wanted.path}.mp4": colors, f"{wanted.path}_depth.mp4": depths}
    for name, pictures in videos.items():
        write_video(folder / name, pictures, wanted.fps)
    for still in range(0, wanted.num_frames, max(1, wanted.num_frames // 4)):
        write_png(folder / "stills" / f"{still:03d}_color.png", colors[still])
        write_png(folder / "stills" / f"{still:03d}_depth.png", depths[still])
    return [*(folder / name for name in videos), folder / "stills"]
