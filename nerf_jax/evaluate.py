"""A trained scene against photos that it never saw."""

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nerf_jax.compositing import pixel_over, solid
from nerf_jax.config import Config
from nerf_jax.data.scene import Split
from nerf_jax.devices import device_name, processor
from nerf_jax.export import color_depth, depth_range, write_png
from nerf_jax.metrics import psnr, ssim
from nerf_jax.progress import say, track
from nerf_jax.trained import Trained
from nerf_jax.types import Rendering


@dataclass(frozen=True)
class Score:
    """How one held-out view compares to its photo."""

    name: str
    psnr: float
    ssim: float


def evaluate(scene: Trained, held_out: Split) -> list[Path]:
    """Score the views of a split, as the scene's config says, and tell.

    Returns:
        What was written: ``results.json``, and the folder of pictures.
    """
    config, run = scene.config, scene.run
    images = run.folder / "images" / config.eval.split
    scores = score_views(scene, held_out, images)
    outcome = results(scores, held_out, config, int(scene.state.step), vars(scene.clock))
    for score in scores:
        say(f"  {score.name}: PSNR {score.psnr:.2f} dB, SSIM {score.ssim:.4f}")
    say(
        f"{config.eval.split}: PSNR {outcome['psnr']:.2f} dB, SSIM {outcome['ssim']:.4f} "
        f"(mean of {len(scores)} views)"
    )
    return [run.write_json("results.json", outcome), images]


def score_views(scene: Trained, split: Split, folder: Path) -> list[Score]:
    """Render the held-out views, compare them, and write each beside its truth.

    Args:
        scene: its config says what is behind it, and how many views to skip.
        split: its images.
        folder: where ``<name>.png`` goes: truth, rendering, error (three times as strong), depth.
    """
    config = scene.config
    dataset = split.dataset
    size_hw = (dataset.pixels.shape[1], dataset.pixels.shape[2])
    chosen = range(0, len(split.names), config.eval.every)
    scores = []
    for index in track(chosen, f"eval {config.eval.split}", len(chosen)):
        seen = scene.see(dataset.cameras, index, size_hw)
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
        "machine": processor(),
        "device": device_name(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        },
        "per_image": [vars(score) for score in scores],
    }
