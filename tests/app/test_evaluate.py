"""What results.json says of a model with appearance codes, and of one without."""

import dataclasses
import json
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import camera_model
from nerf_jax.app.evaluate import ImageMetrics, RightHalf, ViewScore, results, score_views
from nerf_jax.app.runs import Clock, Run
from nerf_jax.app.scene_cameras import SceneCameras, SplitCameras
from nerf_jax.app.trained import Trained
from nerf_jax.data.images import read_image
from nerf_jax.data.scene import Split
from nerf_jax.metrics import ssim
from nerf_jax.pose_refinement import refine_poses
from nerf_jax.render import image_renderer
from nerf_jax.train import TrainState
from nerf_jax.types import Model
from tests import small
from tests.app.test_appearance import GAINS, SIZE, exposures, photos
from tests.methods.test_hash_grid import HASH

NAMES = ("a", "b", "c", "d")


def outcome(
    method: Model,
    folder,
    mask: np.ndarray | None = None,
    camera: dict | None = None,
    log_exposures: tuple = (None, None),
) -> dict:
    config = small.config(rays_per_step=128)
    params, aux = method.init(jax.random.key(0), *small.cameras())
    if camera:
        config = dataclasses.replace(config, model=dataclasses.replace(HASH, camera_model=True))
        params["camera_model"] = camera
    state = TrainState(jnp.int32(7), params, aux, (), jax.random.key(0))
    known, own = log_exposures
    split = Split(photos()._replace(mask=mask), NAMES, log_exposure=own)
    cameras = SceneCameras(
        np.eye(4), {"train": SplitCameras(NAMES, split.dataset.cameras, (SIZE, SIZE), known)}
    )
    renderer = image_renderer(method.render, config.eval.rays_per_chunk)
    scene = Trained(Run(folder), config, method, state, Clock(), cameras, renderer)
    scores = score_views(scene, split, folder)
    return json.loads(json.dumps(results(scores, split, config, 7, {"train_seconds": 1.0})))


def by_mean_code(index: int, first: int) -> tuple[float, float]:
    """The scores from a column on, seen at the gain of 1, the mean of the training photos'."""
    photo = photos().pixels[index, :, first:]
    seen = photo / GAINS[index]
    error = max(np.mean((seen - photo) ** 2), 1e-10)
    return -10 * np.log10(error), float(ssim(jnp.asarray(seen), jnp.asarray(photo)))


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [lambda method: method, refine_poses])
def test_right_halves_are_scored_by_both_codes(tmp_path, wrap):
    found = outcome(wrap(exposures()), tmp_path)
    for index, image in enumerate(found["per_image"]):
        assert image["name"] == NAMES[index]
        assert set(image) == {"name", "psnr", "ssim", "affine_color", "right_half"}
        assert set(image["right_half"]) == {"fitted_code", "mean_code"}
        mean, fitted = (image["right_half"][code] for code in ("mean_code", "fitted_code"))
        for scores, first in ((image, 0), (mean, SIZE // 2)):
            expected = by_mean_code(index, first)
            np.testing.assert_allclose((scores["psnr"], scores["ssim"]), expected, rtol=1e-3)
        assert fitted["psnr"] > 50
        assert image["affine_color"]["psnr"] > 50  # an exposure is an affine map
        assert fitted["ssim"] > 0.999
    for code in ("fitted_code", "mean_code"):
        for score in ("psnr", "ssim"):
            each = [image["right_half"][code][score] for image in found["per_image"]]
            assert np.isclose(found["right_half"][code][score], np.mean(each))
    assert "fitted on the left half" in found["protocol"]["right_half"]


@pytest.mark.slow
def test_the_halves_are_of_what_a_mask_leaves(tmp_path):
    """A photo of half the size: what is right of it is no half of it."""
    mask = np.ones((len(NAMES), SIZE, SIZE), bool)
    mask[1, :, SIZE // 2 :] = False
    image = outcome(exposures(), tmp_path, mask)["per_image"][1]
    photo = photos().pixels[1, :, SIZE // 4 : SIZE // 2]
    error = np.mean((photo / GAINS[1] - photo) ** 2)
    found = image["right_half"]
    np.testing.assert_allclose(found["mean_code"]["psnr"], -10 * np.log10(error), rtol=1e-3)
    assert found["fitted_code"]["psnr"] > 50


def test_a_padded_photo_is_scored_and_pictured_without_its_padding(tmp_path):
    mask = np.ones((len(NAMES), SIZE, SIZE), bool)
    mask[1, SIZE - 4 :] = False
    outcome(exposures(), tmp_path, mask)
    heights = [read_image(tmp_path / f"{name}.png").shape[0] for name in NAMES]
    assert heights == [SIZE, SIZE - 4, SIZE, SIZE]


def test_a_photo_without_a_valid_pixel_is_pictured_whole(tmp_path):
    mask = np.ones((len(NAMES), SIZE, SIZE), bool)
    mask[1] = False
    images = tmp_path / "images"
    with np.errstate(invalid="ignore"):
        outcome(exposures(), images, mask)
    assert read_image(images / "b.png").shape[0] == SIZE


def test_views_are_scored_with_the_exposures_of_the_training_cameras_there(tmp_path):
    """Here they are at the same viewpoints, and the scene has the mean exposure."""
    camera = camera_model.init(len(GAINS), 2.2 * np.log(GAINS))
    found = outcome(with_mean_exposure(), tmp_path, camera=camera)
    assert found["psnr"] > 50
    assert found["affine_color"]["psnr"] > 50
    assert "nearest training cameras" in found["protocol"]["camera_model"]


def test_views_are_scored_with_the_exposures_that_they_state(tmp_path):
    """Here others than those of the training cameras at the same viewpoints."""
    own = 2.2 * np.log(GAINS)
    known = own[::-1]
    camera = camera_model.init(len(GAINS), known)
    found = outcome(with_mean_exposure(), tmp_path, camera=camera, log_exposures=(known, own))
    assert found["psnr"] > 50
    unstated = outcome(with_mean_exposure(), tmp_path, camera=camera)
    assert unstated["psnr"] < 30


def with_mean_exposure() -> Model:
    """The scene of the photos as with their mean gain."""
    mean = np.exp(np.mean(np.log(GAINS)))

    def init(key, cameras, size_hw):
        params, aux = exposures().init(key, cameras, size_hw)
        return {"params": {**params["params"], "head": mean * params["params"]["head"]}}, aux

    return exposures()._replace(init=init)


@pytest.mark.parametrize("has_halves", [False, True])
def test_scores_travel_between_processes(has_halves):
    halves = RightHalf(ImageMetrics(3.0, 0.3), ImageMetrics(2.0, 0.2)) if has_halves else None
    score = ViewScore("r_4", ImageMetrics(21.5, 0.9), ImageMetrics(23.0, 0.8), halves)
    assert ViewScore.from_json(json.loads(json.dumps(asdict(score)))) == score
