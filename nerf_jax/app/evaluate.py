"""A trained scene against photos that it never saw."""

import functools
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from nerf_jax.app import appearance
from nerf_jax.app.images import color_depth, depth_range, write_png
from nerf_jax.app.progress import say, track
from nerf_jax.app.trained import Trained
from nerf_jax.compositing import pixel_over, solid_background
from nerf_jax.config import Config
from nerf_jax.data.scene import Split
from nerf_jax.devices import device_name, processor
from nerf_jax.metrics import psnr, ssim
from nerf_jax.types import Rendering


@dataclass(frozen=True)
class Score:
    """How a picture compares to its photo."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class RightHalf:
    """How the right half of a view does, by the appearance code that it is seen with."""

    fitted_code: Score
    """FitResult on the left half: :mod:`nerf_jax.app.appearance`."""
    mean_code: Score
    """The mean of the training photos', which all else is seen with."""


@dataclass(frozen=True)
class ViewScore:
    """How one held-out view does."""

    name: str
    whole: Score
    right_half: RightHalf | None = None
    """Where the model has appearance codes."""

    def numbers(self) -> dict[str, Any]:
        """As ``results.json`` has them."""
        halves = {"right_half": asdict(self.right_half)} if self.right_half else {}
        return asdict(self.whole) | halves


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
        say(f"  {score.name}: PSNR {score.whole.psnr:.2f} dB, SSIM {score.whole.ssim:.4f}")
    say(
        f"{config.eval.split}: PSNR {outcome['psnr']:.2f} dB, SSIM {outcome['ssim']:.4f} "
        f"(mean of {len(scores)} views)"
    )
    if "right_half" in outcome:
        right = outcome["right_half"]
        say(
            f"right halves: PSNR {right['fitted_code']['psnr']:.2f} dB with codes fitted on the "
            f"left ones, {right['mean_code']['psnr']:.2f} dB with the mean code"
        )
    return [run.write_json("results.json", outcome), images]


def score_views(scene: Trained, split: Split, folder: Path) -> list[ViewScore]:
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
    state = scene.state
    has_codes = appearance.codes(state.params) is not None
    fit = functools.partial(
        appearance.fit_code,
        *(scene.model, state.params, state.aux),
        key=jax.random.key(0),
        # No more at once than training is known to have room for.
        num_rays=min(appearance.NUM_RAYS, config.train.rays_per_step),
    )
    for index in track(chosen, f"eval {config.eval.split}", len(chosen)):
        seen = scene.render(dataset.cameras, index, size_hw)
        image, truth = _clipped(seen), _photo(np.asarray(dataset.pixels[index]), config)
        counts, right_half = appearance.counted(dataset, index), None
        if has_codes:
            fitted = fit(photo=appearance.left_half(dataset, index))
            again = scene.renderer(fitted, state.aux, dataset.cameras, index, size_hw)
            right_half = _right_half(_clipped(again), image, truth, counts)
        scores.append(ViewScore(split.names[index], _compare(image, truth, counts), right_half))
        error = np.clip(3 * np.abs(image - truth), 0.0, 1.0)
        strip = [truth, image, error, _depth_picture(seen)]
        write_png(folder / f"{split.names[index].replace('/', '_')}.png", np.hstack(strip))
    return scores


def _compare(
    image: Float[np.ndarray, "H W 3"],
    truth: Float[np.ndarray, "H W 3"],
    counts: Bool[np.ndarray, "H W"],
) -> Score:
    mse = jnp.mean((image - truth)[counts] ** 2)
    windows = min(counts.shape) >= 11
    similarity = float(ssim(jnp.asarray(image), jnp.asarray(truth))) if windows else np.nan
    return Score(float(psnr(mse)), similarity)


def _right_half(
    by_fitted_code: Float[np.ndarray, "H W 3"],
    by_mean_code: Float[np.ndarray, "H W 3"],
    truth: Float[np.ndarray, "H W 3"],
    counts: Bool[np.ndarray, "H W"],
) -> RightHalf:
    right = np.s_[:, appearance.middle_column(counts) :]
    return RightHalf(
        _compare(by_fitted_code[right], truth[right], counts[right]),
        _compare(by_mean_code[right], truth[right], counts[right]),
    )


def _clipped(seen: Rendering) -> Float[np.ndarray, "H W 3"]:
    return np.clip(np.asarray(seen.rgb), 0.0, 1.0)


def _photo(pixels: np.ndarray, config: Config) -> Float[np.ndarray, "H W 3"]:
    values = pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
    return np.asarray(pixel_over(jnp.asarray(values), solid_background(config.data.background)))


def _depth_picture(seen: Rendering) -> Float[np.ndarray, "H W 3"]:
    depth, opacity = np.asarray(seen.median_depth), np.asarray(seen.opacity)
    return color_depth(depth, opacity, *depth_range(depth, opacity))


def results(
    scores: list[ViewScore], split: Split, config: Config, step: int, seconds: dict[str, float]
) -> dict[str, Any]:
    """The scores, and everything that says what they mean.

    Beside each ``psnr`` and ``ssim``, the means' and the images', there is a ``right_half`` where
    the model has appearance codes, with a ``fitted_code`` and a ``mean_code`` that have the same.
    """
    height, width = split.dataset.pixels.shape[1:3]
    background = "black" if config.data.background == "black" else "white"
    numbers = [score.numbers() for score in scores]
    means = jax.tree.map(lambda *each: float(np.mean(each)), *numbers)
    return {
        **means,
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
            **({"right_half": _HALVES} if "right_half" in means else {}),
        },
        "steps": step,
        **seconds,
        "machine": processor(),
        "device": device_name(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        },
        "per_image": [
            {"name": score.name, **own} for score, own in zip(scores, numbers, strict=True)
        ],
    }


_HALVES = (
    "the right half of each view: fitted_code, seen with an appearance code fitted on the left "
    f"half of its photo ({appearance.NUM_STEPS} steps of Adam); mean_code, seen with the mean of "
    "the training photos' codes, as is the whole view"
)
