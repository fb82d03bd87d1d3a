"""Looking at a trained scene: scores on held-out views, stills, and a turn around it."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nerf_jax.cameras import orbit_path, resize, tour_path
from nerf_jax.compositing import pixel_over, solid
from nerf_jax.config import Config
from nerf_jax.data.scene import Split
from nerf_jax.export import color_depth, depth_range, write_png, write_video
from nerf_jax.metrics import psnr, ssim
from nerf_jax.progress import track
from nerf_jax.render import ImageRenderer
from nerf_jax.runs import Run
from nerf_jax.train import TrainState
from nerf_jax.types import Cameras, Rendering


@dataclass(frozen=True)
class Score:
    """How one held-out view compares to its photo."""

    name: str
    psnr: float
    ssim: float


def score_views(
    renderer: ImageRenderer, state: TrainState, split: Split, config: Config, folder: Path
) -> list[Score]:
    """Render the held-out views, compare them, and write each beside its truth.

    Args:
        renderer: of the run's model.
        state: trained.
        split: its images.
        config: for the background, and for how many views to skip.
        folder: where ``<name>.png`` goes: truth, rendering, error (three times as strong), depth.
    """
    dataset = split.dataset
    size_hw = (dataset.pixels.shape[1], dataset.pixels.shape[2])
    chosen = range(0, len(split.names), config.eval.every)
    scores = []
    for index in track(chosen, f"eval {config.eval.split}", len(chosen)):
        seen = renderer(state.params, state.aux, dataset.cameras, index, size_hw)
        truth = _photo(np.asarray(dataset.pixels[index]), config)
        image = np.clip(np.asarray(seen.rgb), 0.0, 1.0)
        counted = slice(None) if dataset.mask is None else np.asarray(dataset.mask[index])
        mse = jnp.mean((image - truth)[counted] ** 2)
        windows = min(size_hw) >= 11
        similarity = float(ssim(jnp.asarray(image), jnp.asarray(truth))) if windows else np.nan
        scores.append(Score(split.names[index], float(psnr(mse)), similarity))
        error = np.clip(3 * np.abs(image - truth), 0.0, 1.0)
        strip = [truth, image, error, _depth_picture(seen)]
        write_png(folder / f"{split.names[index].replace('/', '_')}.png", np.hstack(strip))
    return scores


def _photo(pixels: np.ndarray, config: Config) -> Float[np.ndarray, "H W 3"]:
    values = pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
    return np.asarray(pixel_over(jnp.asarray(values), solid(config.data.background)))


def _depth_picture(seen: Rendering) -> Float[np.ndarray, "H W 3"]:
    depth, opacity = np.asarray(seen.median_depth), np.asarray(seen.opacity)
    return color_depth(depth, opacity, *depth_range(depth, opacity))


def results(
    scores: list[Score], split: Split, config: Config, step: int, seconds: dict[str, float]
) -> dict[str, Any]:
    """The scores, and everything that says what they mean."""
    height, width = split.dataset.pixels.shape[1:3]
    background = "black" if config.data.background == "black" else "white"
    return {
        "psnr": float(np.mean([score.psnr for score in scores])),
        "ssim": float(np.mean([score.ssim for score in scores])),
        "protocol": {
            "scene": config.data.scene,
            "split": config.eval.split,
            "views": len(scores),
            "every": config.eval.every,
            "image_size_hw": [height, width],
            "downscale": config.data.downscale,
            "background": background,
            "quantisation": "none: float32 renderings clipped to [0, 1]",
            "psnr": "mean of per-image values",
            "ssim": "11x11 Gaussian window, sigma 1.5",
        },
        "steps": step,
        **seconds,
        "device": device_name(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        },
        "per_image": [vars(score) for score in scores],
    }


def device_name() -> str:
    """The devices that jax computes on, for people."""
    devices = jax.devices()
    name = f"{devices[0].platform} ({devices[0].device_kind})"
    return name if len(devices) == 1 else f"{len(devices)} x {name}"


def render_path(
    run: Run,
    renderer: ImageRenderer,
    state: TrainState,
    cameras: Cameras,
    size_hw: tuple[int, int],
    config: Config,
) -> list[Path]:
    """The video of a way around or past the scene, its depth, and four stills of each.

    Args:
        run: where they go.
        renderer: of the run's model.
        state: trained.
        cameras: of the training images: what they look at is what a turn goes around.
        size_hw: of those images.
        config: its ``render`` part.

    Returns:
        The files written.
    """
    wanted = config.render
    if wanted.path == "orbit":
        path = orbit_path(cameras, wanted.num_frames, wanted.elevation_degrees)
    else:
        path = tour_path(cameras, wanted.num_frames)
    path = resize(path, 1 / wanted.downscale)
    size_hw = (max(1, size_hw[0] // wanted.downscale), max(1, size_hw[1] // wanted.downscale))
    path = jax.tree.map(jnp.asarray, path)

    def seen() -> Iterator[Rendering]:
        for frame in track(range(wanted.num_frames), "render", wanted.num_frames):
            yield renderer(state.params, state.aux, path, frame, size_hw)

    frames = list(seen())
    colors = [np.asarray(frame.rgb) for frame in frames]
    depth = np.stack([np.asarray(frame.median_depth) for frame in frames])
    opacity = np.stack([np.asarray(frame.opacity) for frame in frames])
    # One scale for the whole turn: a depth that flickers says nothing.
    depths = list(color_depth(depth, opacity, *depth_range(depth, opacity)))
    videos = {f"{wanted.path}.mp4": colors, f"{wanted.path}_depth.mp4": depths}
    for name, pictures in videos.items():
        write_video(run.folder / name, pictures, wanted.fps)
    for still in range(0, wanted.num_frames, max(1, wanted.num_frames // 4)):
        write_png(run.folder / "stills" / f"{still:03d}_color.png", colors[still])
        write_png(run.folder / "stills" / f"{still:03d}_depth.png", depths[still])
    return [*(run.folder / name for name in videos), run.folder / "stills"]
