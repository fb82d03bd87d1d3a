"""Evaluation: the scores of a trained scene on held-out views."""

import functools
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from nerf_jax import camera_model
from nerf_jax.app import appearance
from nerf_jax.app.images import color_depth, depth_range, write_png
from nerf_jax.app.processes import ALONE, Group
from nerf_jax.app.progress import say, track
from nerf_jax.app.trained import Trained
from nerf_jax.compositing import pixel_over, solid_background, to_float
from nerf_jax.config import Config
from nerf_jax.data.memory import read_rows
from nerf_jax.data.scene import Split
from nerf_jax.devices import device_name, processor
from nerf_jax.fields import appearance_codes
from nerf_jax.metrics import psnr, ssim
from nerf_jax.types import Cameras, Rendering


@dataclass(frozen=True)
class ImageMetrics:
    """The similarity of a rendering to its photo."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class RightHalf:
    """The metrics of a view's right half with two appearance codes."""

    fitted_code: ImageMetrics
    """The code fitted on the left half: :mod:`nerf_jax.app.appearance`."""
    mean_code: ImageMetrics
    """The mean of the training photos' codes, as in all other renderings."""


@dataclass(frozen=True)
class ViewScore:
    """The metrics of one held-out view."""

    name: str
    whole: ImageMetrics
    affine_color: ImageMetrics
    """After the affine map of the three channels that fits the photo best."""
    right_half: RightHalf | None = None
    """Of models with appearance codes."""

    @staticmethod
    def from_json(fields: dict[str, Any]) -> "ViewScore":
        """The inverse of :func:`dataclasses.asdict`."""
        halves = fields["right_half"]
        right = halves and RightHalf(*(ImageMetrics(**metrics) for metrics in halves.values()))
        whole, affine = (ImageMetrics(**fields[name]) for name in ("whole", "affine_color"))
        return ViewScore(fields["name"], whole, affine, right)

    def to_json(self) -> dict[str, Any]:
        """The metrics as in ``results.json``."""
        halves = {"right_half": asdict(self.right_half)} if self.right_half else {}
        return asdict(self.whole) | {"affine_color": asdict(self.affine_color)} | halves


def evaluate(scene: Trained, held_out: Split, group: Group = ALONE) -> list[Path]:
    """Score the views of a split as the scene's config says, and print the scores.

    Args:
        scene: on the devices of this process.
        held_out: the split.
        group: the processes that share the views; all of them call this.

    Returns:
        The paths written: ``results.json``, and the folder of pictures.
    """
    config, run = scene.config, scene.run
    images = run.folder / "images" / config.eval.split
    scores = score_views(scene, held_out, images, group)
    outcome = results(scores, held_out, config, int(scene.state.step), vars(scene.clock))
    for score in scores:
        say(f"  {score.name}: PSNR {score.whole.psnr:.2f} dB, SSIM {score.whole.ssim:.4f}")
    say(
        f"{config.eval.split}: PSNR {outcome['psnr']:.2f} dB, SSIM {outcome['ssim']:.4f} "
        f"(mean of {len(scores)} views); {outcome['affine_color']['psnr']:.2f} dB after an affine "
        "fit of each view's colours"
    )
    if "right_half" in outcome:
        right = outcome["right_half"]
        say(
            f"right halves: PSNR {right['fitted_code']['psnr']:.2f} dB with codes fitted on the "
            f"left halves, {right['mean_code']['psnr']:.2f} dB with the mean code"
        )
    if group.is_first:
        run.write_json("results.json", outcome)
    return [run.results_file, images]


def score_views(
    scene: Trained, split: Split, folder: Path, group: Group = ALONE
) -> list[ViewScore]:
    """Render the held-out views, score them, and write a picture of each.

    Args:
        scene: its config gives the background, and which views to skip.
        split: the held-out images.
        folder: receives ``<name>.png``: truth, rendering, error (three times as strong), depth.
        group: the processes that share the views: each renders some, and writes their pictures.
    """
    config, dataset, state = scene.config, split.dataset, scene.state
    background = solid_background(config.data.background)
    predict = _camera_prediction(scene)
    chosen = group.share(range(0, len(split.names), config.eval.every))
    has_codes = appearance_codes(state.params) is not None
    fit_code = functools.partial(
        appearance.fit_code,
        *(scene.model, state.params, state.aux),
        key=jax.random.key(0),
        # At most as many as training had memory for.
        num_rays=min(appearance.NUM_RAYS, config.train.rays_per_step),
    )
    scores = []
    for index in track(chosen, f"eval {config.eval.split}", len(chosen)):
        rendering = predict(scene.render(dataset.cameras, index, dataset.size_hw), split, index)
        photo = jnp.asarray(to_float(read_rows(dataset.pixels, index)))
        image, truth = _clipped_rgb(rendering), np.asarray(pixel_over(photo, background))
        valid, right_half = appearance.valid_pixels(dataset, index), None
        if has_codes:
            params = fit_code(photo=appearance.left_half(dataset, index))
            fitted = scene.renderer(params, state.aux, dataset.cameras, index, dataset.size_hw)
            right = np.s_[:, appearance.middle_column(valid) :]
            right_half = RightHalf(
                _compare(_clipped_rgb(fitted)[right], truth[right], valid[right]),
                _compare(image[right], truth[right], valid[right]),
            )
        affine = _compare(_affine_color(image, truth, valid), truth, valid)
        whole = _compare(image, truth, valid)
        scores.append(ViewScore(split.names[index], whole, affine, right_half))
        error = np.clip(3 * np.abs(image - truth), 0.0, 1.0)
        depth, opacity = np.asarray(rendering.median_depth), np.asarray(rendering.opacity)
        depth_image = color_depth(depth, opacity, *depth_range(depth, opacity))
        # Without the padding of a photo that is smaller than others.
        rows, columns = np.nonzero(valid) if valid.any() else np.nonzero(~valid)
        height, width = rows.max() + 1, columns.max() + 1
        parts = (part[:height, :width] for part in (truth, image, error, depth_image))
        strip = np.hstack(list(parts))
        write_png(folder / f"{split.names[index].replace('/', '_')}.png", strip)
    return [ViewScore.from_json(each) for each in group.gather([asdict(score) for score in scores])]


def _camera_prediction(scene: Trained) -> Callable[[Rendering, Split, int], Rendering]:
    """The function that gives a rendering the colours that the camera model expects of a photo.

    Its pixels are not read: its exposure and white balance are those of the training cameras
    nearby, and follow its exposure by EXIF. Without a camera model it is the identity.
    """
    params = camera_model.of(scene.state.params)
    if params is None:
        return lambda rendering, split, index: rendering
    gains = np.asarray(camera_model.log_gains(params))
    # A background is not photographed, but a learned environment is.
    is_shown = not scene.config.model.has_environment
    behind = is_shown * np.asarray(solid_background(scene.config.data.background))

    def predict(rendering: Rendering, split: Split, index: int) -> Rendering:
        cameras, gain = split.dataset.cameras, np.zeros(3)
        if isinstance(cameras, Cameras) and "train" in scene.all_cameras.splits:
            pose = np.asarray(cameras.world_from_camera)[index]
            known, own = scene.all_cameras.splits["train"].log_exposure, split.log_exposure
            near = gains
            if known is not None and own is not None:
                near = camera_model.gains_at_exposure(gains, known, own[index])
            gain = camera_model.predict_log_gain(near, scene.cameras(), pose)
        rest = (1 - np.asarray(rendering.opacity)[..., None]) * behind
        rgb = camera_model.apply_image(
            params, gain, cameras, index, np.asarray(rendering.rgb) - rest
        )
        return rendering._replace(rgb=rgb + rest)

    return predict


def _affine_color(
    image: Float[np.ndarray, "H W 3"],
    truth: Float[np.ndarray, "H W 3"],
    valid: Bool[np.ndarray, "H W"],
) -> Float[np.ndarray, "H W 3"]:
    """The image after the affine map of its colours nearest to the photo's, by least squares."""
    colors = np.concatenate([image, np.ones_like(image[..., :1])], axis=-1)
    # In double precision: the colours of a photo are nearly dependent.
    matrix, *_ = np.linalg.lstsq(colors[valid].astype(float), truth[valid].astype(float))
    return np.clip(colors @ matrix, 0.0, 1.0).astype(np.float32)


def _compare(
    image: Float[np.ndarray, "H W 3"],
    truth: Float[np.ndarray, "H W 3"],
    valid: Bool[np.ndarray, "H W"],
) -> ImageMetrics:
    mse = jnp.mean((image - truth)[valid] ** 2)
    has_window = min(valid.shape) >= 11
    mask = None if valid.all() else jnp.asarray(valid)
    pair = jnp.asarray(image), jnp.asarray(truth)
    similarity = float(ssim(*pair, mask)) if has_window else np.nan
    return ImageMetrics(float(psnr(mse)), similarity)


def _clipped_rgb(rendering: Rendering) -> Float[np.ndarray, "H W 3"]:
    return np.clip(np.asarray(rendering.rgb), 0.0, 1.0)


def results(
    scores: list[ViewScore], split: Split, config: Config, step: int, seconds: dict[str, float]
) -> dict[str, Any]:
    """The content of ``results.json``: scores, protocol, times and versions.

    The means and the scores of each image have ``psnr`` and ``ssim``; the same fields under
    ``affine_color``, after an affine fit of the colours; and for models with appearance codes
    ``right_half``, with the same fields under ``fitted_code`` and ``mean_code``.
    """
    background = "black" if config.data.background == "black" else "white"
    metrics = [score.to_json() for score in scores]
    means = jax.tree.map(lambda *each: float(np.mean(each)), *metrics)
    return {
        **means,
        "protocol": {
            "scene": config.data.scene,
            "split": config.eval.split,
            "views": len(scores),
            "every": config.eval.every,
            "image_size_hw": list(split.dataset.size_hw),
            "downscale": config.data.downscale,
            "background": background,
            "quantisation": "none: float32 renderings clipped to [0, 1]",
            "psnr": "mean of per-image values",
            "ssim": "11x11 Gaussian window, sigma 1.5",
            "affine_color": "the whole view after the affine map of its colours, by least squares "
            "on all its valid pixels, that is nearest to the photo",
            **({"camera_model": _CAMERA_MODEL} if config.model.has_camera_model else {}),
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
            {"name": score.name, **each} for score, each in zip(scores, metrics, strict=True)
        ],
    }


_CAMERA_MODEL = (
    "views have the vignetting and response of the camera, and the exposure and white balance "
    "interpolated from the nearest training cameras by pose, and corrected for the exposure in the "
    "EXIF data if all photos state it; the pixels of held-out photos are not read"
)

_HALVES = (
    "the right half of each view: fitted_code, seen with an appearance code fitted on the left "
    f"half of its photo ({appearance.NUM_STEPS} steps of Adam); mean_code, seen with the mean of "
    "the training photos' codes, as is the whole view"
)
