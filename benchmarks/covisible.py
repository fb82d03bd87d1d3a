"""Scores of the held-out pixels that training photos see: the others can only be guessed.

    python benchmarks/covisible.py outputs/captures/kitchen-now outputs/captures/sceaux-now

Co-visibility masks (Gao et al., "Monocular Dynamic View Synthesis: A Reality Check", 2022, Section
4.1). Which photos see a surface is decided by the depths of a model that is trained on all photos,
the held-out ones included. Writes ``benchmarks/results/covisible.json``.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from captures import command
from PIL import Image
from record import write_record

from nerf_jax.app import trained
from nerf_jax.app.runs import Run
from nerf_jax.cameras import cast_image_rays, project
from nerf_jax.metrics import psnr
from nerf_jax.types import Cameras

ROOT = Path(__file__).parent.parent
TOLERANCE, SLACK = 0.1, 0.03
"""Two photos see the same surface if distances differ by a tenth, or their reciprocals by little:
far away neither tells distances closely."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="finished runs on captures")
    parser.add_argument("--seconds", type=float, default=200.0, help="of training on all photos")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    for folder in args.runs:
        run = Run(folder)
        views = [Path(view["name"]).stem for view in run.results()["per_image"]]
        counts = counts_of_photos(train_on_all(run, args.seconds), views)
        for view in views:
            rows.append({"run": folder.name, "view": view, **scores(folder, view, counts[view])})
            print(json.dumps(rows[-1]))
    write_record(Path(__file__), {"seconds": args.seconds, "rows": rows}, {})


def train_on_all(run: Run, seconds: float) -> Path:
    """The folder of a model of the same capture that holds out nothing."""
    output = run.folder.with_name(f"{run.folder.name}-all_photos")
    if not (output / "curves.png").exists():
        data = run.config().data
        options: list[object] = ["--config", "capture.py", "--data.root", data.root]
        options += ["--data.hold_out", 0, "--render.num_frames", 0, "--no-page", "--output", output]
        options += ["--train.max_seconds", seconds, "--train.num_steps", 10**6]
        command(ROOT, *options)
    return output


def counts_of_photos(folder: Path, views: list[str]) -> dict[str, np.ndarray]:
    """For each pixel of some views, the number of the other photos that see its surface."""
    model = trained.load(Run(folder))
    cameras, size_hw = model.cameras(), model.size_hw
    names = [Path(name).stem for name in model.all_cameras.splits["train"].names]
    depths = np.stack([model.render(cameras, i, size_hw).median_depth for i in range(len(names))])
    photos = [i for i, name in enumerate(names) if name not in views]
    return {
        view: sum(sees(cameras, depths, names.index(view), photo) for photo in photos)
        for view in views
    }


def sees(cameras: Cameras, depths: np.ndarray, view: int, photo: int) -> np.ndarray:
    """Whether a photo sees the surfaces in the pixels of a view."""
    size_hw = depths.shape[1:]
    rays = cast_image_rays(cameras, view, size_hw)
    points = rays.origin + depths[view][..., None] * rays.direction
    project_all = jax.vmap(jax.vmap(lambda point: project(cameras, photo, point)))
    position, ahead = map(np.asarray, project_all(jnp.asarray(points)))
    size_wh = np.array(size_hw[::-1])
    inside = (ahead > 0) & np.all((position >= 0) & (position < size_wh), axis=-1)
    column, row = np.moveaxis(np.clip(position, 0, size_wh - 1).astype(int), -1, 0)
    origin = np.asarray(cameras.world_from_camera)[photo, :, 3]
    inverse = 1 / np.linalg.norm(points - origin, axis=-1)
    off = np.abs(1 / depths[photo][row, column] - inverse)
    return inside & (off < np.maximum(TOLERANCE * inverse, SLACK))


def scores(folder: Path, view: str, counts: np.ndarray) -> dict[str, float]:
    """The PSNR of a view, that of its seen pixels, and the share of those seen by no photo."""
    picture = np.asarray(Image.open(folder / f"images/val/{view}.png").convert("RGB")) / 255
    truth, shown = (picture[:, i * counts.shape[1] :][:, : counts.shape[1]] for i in (0, 1))
    error = np.mean((truth - shown) ** 2, axis=-1)
    return {
        "psnr": float(psnr(jnp.mean(error))),
        "unseen": float(np.mean(counts == 0)),
        "psnr_seen": float(psnr(jnp.mean(error[counts > 0]))),
        "psnr_seen_twice": float(psnr(jnp.mean(error[counts > 1]))),
    }


if __name__ == "__main__":
    main()
