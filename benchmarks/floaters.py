"""Floaters, counted: wrong depths seen from off the training path, in scenes with exact depth.

    python benchmarks/floaters.py --seconds 60
    python benchmarks/floaters.py --seconds 60 --scenes town --only "no plane sweep"

``town`` is a capture of 20 photos with a far background, trained by ``capture.py``; ``bricks`` is
the built-in object. A pixel is wrong if its median depth is off by more than 5 %, or if it is
opaque where there is only sky. Variants leave out one remedy each, or add it. Writes
``benchmarks/results/floaters.json``.
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import write_record

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "notebooks"))

import town  # noqa: E402

from nerf_jax.app import trained  # noqa: E402
from nerf_jax.app.runs import Run  # noqa: E402
from nerf_jax.cameras import cast_image_rays, look_at  # noqa: E402
from nerf_jax.data import normalize  # noqa: E402
from nerf_jax.scenes import bricks  # noqa: E402
from nerf_jax.scenes.raytrace import RayHit  # noqa: E402
from nerf_jax.types import Cameras  # noqa: E402

NUM_VIEWS, SIZE_HW = 50, (48, 64)
TOLERANCE = 0.05
VARIANTS = {
    "town": {
        "as configured": "",
        "no plane sweep": "--data.no-plane-sweep",
        "no depths": "--model.depth_weight 0",
        "no distortion loss": "--model.distortion 0",
        "no environment": "--model.no-environment",
        "no roulette": "--model.roulette_weight 0",
    },
    "bricks": {"as configured": "", "with distortion loss": "--model.distortion 0.01"},
}
Trace = Callable[[jax.Array, jax.Array], RayHit]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, each")
    parser.add_argument("--steps", type=int, help="in place of a time: fair on a busy machine")
    parser.add_argument("--scenes", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--only", nargs="+", help="variants, by name")
    parser.add_argument("--work", type=Path, default=Path("outputs/floaters"))
    args = parser.parse_args()
    limits = ["--train.max_seconds", str(None if args.steps else args.seconds)]
    limits += ["--train.num_steps", str(args.steps or 10**6)]
    rows = []
    for scene in args.scenes:
        options = prepare(scene, args.work)
        for variant, more in VARIANTS[scene].items():
            if args.only and variant not in args.only:
                continue
            run = args.work / f"{scene}-{variant.replace(' ', '_')}"
            if not (run / "results.json").exists():
                rest = ["--render.num_frames", "0", "--output", str(run), *shlex.split(more)]
                line = [sys.executable, str(ROOT / "run.py"), *options, *limits, *rest]
                subprocess.run(line, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
            rows.append({"scene": scene, "variant": variant, **score(scene, run)})
            print(
                "{scene:8s} {variant:20s} {wrong:.1%} wrong of {pixels:,} pixels".format(**rows[-1])
            )
    figures = {"views": NUM_VIEWS, "size_hw": SIZE_HW, "tolerance": TOLERANCE}
    write_record(
        Path(__file__), figures | {"seconds": args.seconds, "steps": args.steps, "rows": rows}, {}
    )


def prepare(scene: str, work: Path) -> list[str]:
    """Options of ``run.py`` for a scene, whose photos are taken first."""
    if scene == "bricks":
        return ["--config", "bricks.py"]
    folder = work / scene
    if not (folder / "transforms.json").exists():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        town.take_photos(folder)
    return ["--config", "capture.py", "--data.root", str(folder)]


def score(scene: str, folder: Path) -> dict[str, object]:
    """The share of wrong pixels of a run."""
    run = trained.load(Run(folder))
    own_from_world, trace = np.linalg.inv(run.all_cameras.world_from_original), bricks.trace
    if scene == "town":
        own_from_world = np.linalg.inv(town.ORIGINAL_FROM_TOWN) @ own_from_world
        trace = town.trace
    cameras = off_path(scene)
    world = normalize.move(np.linalg.inv(own_from_world), cameras)
    bounds = run.cameras()
    # A photo's near would cut off the object before the nearer cameras.
    near = np.min(bounds.near) / (3 if scene == "bricks" else 1)
    world = world._replace(
        near=np.full(NUM_VIEWS, near), far=np.full(NUM_VIEWS, np.max(bounds.far))
    )
    scale = np.cbrt(np.linalg.det(own_from_world[:3, :3]))
    wrong = []
    for view in range(NUM_VIEWS):
        exact = exact_depth(cameras, view, trace)
        seen = run.render(world, view, SIZE_HW)
        off = np.abs(scale * seen.median_depth / np.where(np.isfinite(exact), exact, 1) - 1)
        wrong.append(np.where(np.isfinite(exact), off > TOLERANCE, seen.opacity > 0.5))
    return {"wrong": float(np.mean(wrong)), "pixels": int(np.size(wrong))}


def off_path(scene: str) -> Cameras:
    """Cameras in the scene's own frame, which no training camera is near.

    Those of the town are a third nearer to the house and higher than the walk, those of the bricks
    at two thirds of the distance.
    """
    if scene == "town":
        cameras = town.walk(NUM_VIEWS, SIZE_HW)
        origins = cameras.world_from_camera[:, :, 3] * (2 / 3) + np.array([0, 0, 0.6])
    else:
        random = np.random.default_rng(0).normal(size=(NUM_VIEWS, 3))
        random[:, 2] = np.abs(random[:, 2])
        origins = bricks.CAMERA_DISTANCE * 2 / 3 * random / np.linalg.norm(random, axis=1)[:, None]
        cameras = town.walk(NUM_VIEWS, SIZE_HW)._replace(lens=None)
    poses = [look_at(origin, np.zeros(3), np.array([0.0, 0.0, 1.0])) for origin in origins]
    return cameras._replace(world_from_camera=np.stack(poses), lens=None)


def exact_depth(cameras: Cameras, view: int, trace: Trace) -> np.ndarray:
    """Distances along the rays of one view; inf where nothing is hit."""
    rays = cast_image_rays(jax.tree.map(jnp.asarray, cameras), view, SIZE_HW)
    hits = jax.jit(jax.vmap(jax.vmap(trace)))(rays.origin, rays.direction)
    return np.asarray(hits.depth)


if __name__ == "__main__":
    main()
