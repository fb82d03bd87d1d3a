"""Pose refinement on the fox, from inaccurate poses.

    python benchmarks/pose_refinement.py --steps 4000

Three trainings of the same number of steps: from the fox's own poses; from poses rotated by 1
degree about random axes and moved by 1 % of the scene's extent (the largest distance between two
cameras) in random directions; and from these with pose refinement. The cameras of the held-out
photos are the true ones. Writes
``benchmarks/results/pose_refinement.json``.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from poses import compare
from record import write_record

from nerf_jax import config as configs
from nerf_jax import data, methods
from nerf_jax.app.evaluate import score_views
from nerf_jax.app.fit import fit
from nerf_jax.app.runs import Run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.app.trained import Trained
from nerf_jax.config import Config, OptimizerConfig
from nerf_jax.data.scene import Scene
from nerf_jax.devices import ray_mesh
from nerf_jax.pose_refinement import moved
from nerf_jax.types import Cameras


def disturbed(cameras: Cameras, degrees: float, percent: float) -> Cameras:
    """The cameras, each rotated and moved by the given amounts in a random direction."""
    given = np.asarray(cameras.world_from_camera)
    between = np.linalg.norm(given[:, None, :, 3] - given[None, :, :, 3], axis=-1).max()
    directions = np.random.default_rng(0).normal(size=(2, len(given), 3))
    turns, moves = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    motions = np.c_[np.radians(degrees) * turns, percent / 100 * between * moves]
    return moved(motions.astype(np.float32), cameras)


def trial(config: Config, scene: Scene, given: Cameras, folder: Path) -> dict[str, Any]:
    """The scores and the final pose errors of one training from the given cameras."""
    train, held_out = scene.split("train"), scene.split("val")
    true = train.dataset.cameras
    method, run = methods.build(config), Run(folder)
    folder.mkdir()
    dataset = train.dataset._replace(cameras=given)
    fitted = fit(run, config, method, dataset, None, ray_mesh())
    setting = SceneCameras.of(scene, {"train": replace(train, dataset=dataset)})
    learned = Trained.of(config, fitted.state, setting, fitted.clock, run)
    found = learned.cameras()
    scores = score_views(learned, held_out, folder / "images")
    by_name = [
        dict(zip(train.names, np.asarray(one.world_from_camera), strict=True))
        for one in (found, true)
    ]
    return {
        "psnr": float(np.mean([score.whole.psnr for score in scores])),
        "off": compare(*by_name),
        "train_seconds": fitted.clock.train_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000, help="steps of each training")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of the poses")
    parser.add_argument("--downscale", type=int, default=4, help="of the photos of 1080x1920")
    args = parser.parse_args()
    base = configs.load("fox.py", jax.default_backend())
    schedule = replace(base.optimizer.schedule, steps=args.steps * 4 // 5)
    still: OptimizerConfig = replace(base.optimizer, schedule=schedule)
    learning = replace(still, pose_learning_rate=args.rate)
    base = replace(
        base,
        data=replace(base.data, downscale=args.downscale),
        train=replace(base.train, num_steps=args.steps, max_seconds=None, checkpoint_every=0),
    )
    scene = data.load(base.data)
    true = scene.split("train").dataset.cameras
    off = disturbed(true, degrees=1.0, percent=1.0)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, optimizer, given in (
            ("true poses", still, true),
            ("disturbed", still, off),
            ("disturbed and learned", learning, off),
        ):
            config = replace(base, optimizer=optimizer)
            rows[name] = trial(config, scene, given, Path(folder) / name)
            print(name, rows[name], flush=True)
    best, worst, learned = (row["psnr"] for row in rows.values())
    recovered = (learned - worst) / (best - worst)
    print(f"recovered: {recovered:.0%} of {best - worst:.2f} dB")
    write_record(Path(__file__), {"rows": rows, "recovered": recovered, **vars(args)}, {})


if __name__ == "__main__":
    main()
