"""A run written by version 0.1 (with appearance codes and learned poses), opened by this one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nerf_jax.app import cli, trained
from nerf_jax.app.runs import Run

STORED = Path(__file__).parent / "run_0_1"


@pytest.fixture
def run(tmp_path) -> Run:
    shutil.copytree(STORED, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.mark.slow
def test_it_is_opened(run):
    scene = trained.load(run)
    assert int(scene.state.step) == 600
    assert scene.state.params["poses"].shape == (len(scene.cameras().near), 6)
    given = scene.all_cameras.splits["train"].cameras.world_from_camera
    assert 0 < np.abs(scene.cameras().world_from_camera - given).max() < 0.05


@pytest.mark.slow
def test_it_is_evaluated_rendered_exported_and_resumed(run):
    folder = str(run.folder)
    assert cli.main(["eval", folder]) == 0
    before = json.loads((STORED / "results.json").read_text())
    after = run.results()
    assert after.keys() == before.keys() | {"affine_color"}, "all that there was, and one more"
    for name in ("psnr", "ssim"):
        found = [image[name] for image in after["per_image"]]
        np.testing.assert_allclose(found, [image[name] for image in before["per_image"]], rtol=1e-4)
    assert cli.main(["render", folder, "--num-frames", "2", "--formats", "png"]) == 0
    assert len(list((run.folder / "orbit_png").glob("*.png"))) == 2
    assert cli.main(["export", folder, "--resolution", "16"]) == 0
    assert (run.folder / "export" / "mesh.ply").is_file()
    options = ["--train.num-steps", "620", "--eval.every", "8", "--render.num-frames", "0"]
    assert cli.main(["--output", folder, "--resume", *options]) == 0
    assert run.checkpoints.latest() == 620
    assert run.metrics()[-1]["step"] == 620
