"""A state in memory, as a notebook shows it. Runs opened from their folders: test_cli.py."""

import base64
import functools
import io

import jax
import numpy as np
import pytest
from PIL import Image

from nerf_jax import methods
from nerf_jax.app.images import to_uint8
from nerf_jax.app.runs import Clock, Run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.app.trained import Trained
from nerf_jax.data.scene import Scene, Split
from nerf_jax.devices import ray_mesh
from nerf_jax.methods import make_optimizer
from nerf_jax.train import TrainState, init_state
from nerf_jax.types import RayTable
from tests import small
from tests.app.report import made

NAMES = ("one", "two", "three", "four")


def untrained(run: Run | None = None, rays: bool = False) -> Trained:
    config, data = small.config(), small.dataset()
    if rays:
        lines = np.zeros((4, small.SIZE, small.SIZE, 3), np.float32)
        data = data._replace(cameras=RayTable(lines, lines, np.zeros(4), np.ones(4)))
    setting = SceneCameras.of(Scene("ball", "", {}), {"train": Split(data, NAMES)})
    return Trained.of(config, state(), setting, Clock(train_seconds=75.0), run)


@functools.cache
def state() -> TrainState:
    config = small.config()
    return init_state(
        methods.build(config), make_optimizer(config.optimizer), small.dataset(), ray_mesh()
    )


def decoded(image: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1]))))


@pytest.fixture(scope="module")
def scene():
    return untrained()


def test_a_state_in_memory_shows_what_it_sees(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = made.Page(scene._repr_html_())
    (image,) = page.all("img")
    assert image["alt"] == "small: as from one"
    shown = decoded(image)
    seen = scene.render(scene.cameras(), 0, scene.size_hw)
    np.testing.assert_array_equal(shown[..., :3], to_uint8(np.asarray(seen.rgb)))
    assert "steps 0 training 1 min 15 s" in page.said()
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"


def test_a_large_scene_is_shown_small(scene):
    shots = scene.all_cameras.splits["train"]
    cameras = jax.tree.map(np.asarray, shots.cameras)
    cameras = cameras._replace(focal=cameras.focal * 40, principal=cameras.principal * 40)
    large = SceneCameras(np.eye(4), {"train": shots._replace(cameras=cameras, size_hw=(640, 320))})
    (image,) = made.Page(Trained.of(scene.config, scene.state, large)._repr_html_()).all("img")
    assert decoded(image).shape[:2] == (128, 64)


def test_scores_are_shown_of_the_state_that_was_scored(tmp_path):
    run = made.write_run(tmp_path)
    scene = untrained(run)
    assert "PSNR" not in scene._repr_html_(), "those results are of step 200"
    made.edit(run.results_file, steps=0)
    said = made.Page(scene._repr_html_()).said()
    assert "PSNR 30.21 dB" in said
    assert "truth, r_0" in said


def test_rays_without_cameras_show_no_view():
    page = made.Page(untrained(rays=True)._repr_html_())
    assert not page.all("img")
    assert "steps 0" in page.said()


def test_its_name_is_short(scene):
    assert repr(scene).startswith("Trained('outputs/small/")
    assert repr(scene).endswith("', step 0)")
