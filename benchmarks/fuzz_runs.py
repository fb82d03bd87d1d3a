"""Inputs of the fuzz campaign: the folder of a run, and its reports."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from fuzz_captures import COUNT, PHOTOS, POSES, SIZE_HW, Values, pixels
from PIL import Image

from nerf_jax import config as configs
from nerf_jax import data, methods
from nerf_jax.app import report, trained
from nerf_jax.app.runs import Run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.app.video.trajectory import make_trajectory
from nerf_jax.config.serialization import to_dict
from nerf_jax.devices import ray_mesh
from nerf_jax.train import init_state
from nerf_jax.types import Cameras, Dataset

TINY = configs.Config(
    name="tiny",
    data=configs.DataConfig(near=0.5, far=9.0),
    model=configs.NerfConfig(
        num_coarse=4, num_fine=4, depth=1, width=4, skip=0, position_bands=2, direction_bands=1
    ),
    render=configs.RenderConfig(num_frames=2),
)


def write_run(root: Path) -> None:
    """A run as training leaves it, with the arrays of its state in ``state.npz`` beside it."""
    run, names = Run(root), tuple(Path(name).stem for name in PHOTOS)
    ones = np.ones((COUNT, 2), np.float32)
    cameras = Cameras(POSES, 20 * ones, 6 * ones, 0.5 * ones[:, 0], 9 * ones[:, 0])
    split = data.scene.Split(Dataset(cameras, np.zeros((COUNT, *SIZE_HW, 3), np.uint8)), names)
    run.write_json("config.json", to_dict(TINY))
    SceneCameras.of(data.Scene("tiny", "", {}), {"train": split}).save(run.setting_file)
    optimizer = methods.make_optimizer(TINY.optimizer)
    state = init_state(methods.build(TINY), optimizer, split.dataset, ray_mesh())
    clock = {"train_seconds": 1.0, "compile_seconds": 2.0}
    about = {"config": to_dict(TINY), "clock": clock, "num_photos": COUNT}
    checkpoints = run.checkpoints
    checkpoints.save(7, state, about)
    checkpoints.close()
    np.savez(root / "state.npz", *map(np.asarray, jax.tree.leaves(state.params)))
    for step in range(4):
        each = {"step": step, "train_seconds": 0.5 * step, "psnr": 20.0 + step, "val_psnr": None}
        run.add_metrics(each | {"loss": 0.1, "mse": 0.1, "rays_per_second": 1e3})
    score = {"psnr": 20.0, "ssim": 0.5}
    views = [{"name": name, **score} for name in names]
    protocol = {"scene": "tiny", "split": "val", "views": COUNT, "image_size_hw": list(SIZE_HW)}
    protocol |= {"every": 1, "downscale": 1, "background": "white", "quantisation": "none"}
    run.write_json(
        "results.json", score | {"protocol": protocol, "steps": 7, "per_image": views} | clock
    )
    (root / "images/val").mkdir(parents=True)
    for name in names:
        Image.fromarray(np.hstack([pixels()] * 4)).save(root / f"images/val/{name}.png")


def read_run(root: Path) -> Values:
    run = Run(root)
    scene = trained.load(run)
    run.forget_metrics_after(2)
    make_trajectory(scene, scene.config.render, None)
    np.linalg.inv(scene.all_cameras.world_from_original)
    leaves = map(np.asarray, jax.tree.leaves(scene.state.params))
    found: Values = {f"arr_{index}": leaf for index, leaf in enumerate(leaves)}
    found |= {f"config.{name}": value for name, value in flat(to_dict(scene.config))}
    return found | {"poses": np.asarray(scene.cameras().world_from_camera)}


def expect_run(root: Path) -> Values:
    config = json.loads((root / "config.json").read_text())
    found = {f"config.{name}": value for name, value in flat(config)}
    with np.load(root / "state.npz") as state, np.load(root / "setting.npz") as setting:
        return found | dict(state) | {"poses": setting["train.world_from_camera"]}


def flat(values: Mapping[str, Any], prefix: str = "") -> Any:
    """The leaves of nested tables, by their full names."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_report(root: Path) -> Values:
    run = Run(root)
    report.write_curves(run)
    report.write_report(run)
    record = report.read(run)
    return {"psnr": record.score.psnr, "views": {view.name: view.psnr for view in record.views}}


def expect_report(root: Path) -> Values:
    results = json.loads((root / "results.json").read_text())
    views = {each["name"]: float(each["psnr"]) for each in results["per_image"]}
    return {"psnr": float(results["psnr"]), "views": views}
