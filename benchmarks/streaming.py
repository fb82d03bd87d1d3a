"""Training on photos that do not fit in memory, against the same with all of them in memory.

    python benchmarks/streaming.py FOLDER --photos 1000

Writes photos of 1920x1080 into FOLDER once: as many different views of the built-in scene,
enlarged, each at another place of its photo. Then it trains on them in pairs of processes, one with
``--data.memory 2.5GB``, one with room for everything, and compares their rays per second, their
PSNR of held-out views after the same steps, and their peak memory. Each pair has its own seed. The
first process also decodes the photos into the cache.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image
from record import write_record

from nerf_jax.config import DataConfig
from nerf_jax.data.files import write_json
from nerf_jax.scenes import bricks

WIDTH, HEIGHT = 1920, 1080
RUN = Path(__file__).parents[1] / "run.py"
OPTIONS = [
    *("--data.downscale", "1", "--data.normalize", "none", "--data.background", "white"),
    *("--train.max-seconds", "None", "--train.validate-every", "0"),
    *("--train.checkpoint-every", "0", "--eval.every", "1"),
    *("--render.num-frames", "0", "--no-page"),
]


def write_photos(folder: Path, split: str, count: int) -> None:
    """Write photos and their cameras, unless they are there."""
    file = folder / f"transforms_{split}.json"
    if file.is_file() and len(json.loads(file.read_text())["frames"]) == count:
        return
    with mock.patch.dict(bricks.NUM_VIEWS, {split: count}):
        data = bricks.load(DataConfig(near=2.5, far=5.5)).split(split).dataset
    size = data.size_hw[0]
    focal = float(data.cameras.focal[0, 0]) * HEIGHT / size
    shifts = np.random.default_rng(0).integers(0, WIDTH - HEIGHT + 1, count)
    (folder / split).mkdir(parents=True, exist_ok=True)

    def write(index: int) -> dict[str, Any]:
        name = f"{split}/{index:04d}.jpg"
        square = Image.fromarray(data.pixels[index]).resize((HEIGHT, HEIGHT))
        photo = Image.new("RGB", (WIDTH, HEIGHT), "white")
        photo.paste(square, (int(shifts[index]), 0), square)
        photo.save(folder / name, quality=92)
        pose = [*data.cameras.world_from_camera[index].tolist(), [0.0, 0.0, 0.0, 1.0]]
        return {"file_path": name, "transform_matrix": pose, "cx": shifts[index] + HEIGHT / 2}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        frames = list(pool.map(write, range(count)))
    shared = {"fl_x": focal, "fl_y": focal, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    write_json(file, {**shared, "frames": frames})


def train(folder: Path, output: Path, memory: str, steps: int, seed: int) -> dict[str, float]:
    """Train in a process of its own: its speed, its score and its peak memory."""
    command = [sys.executable, str(RUN), "--config", "bricks.py", "--data.root", str(folder)]
    command += [*OPTIONS, "--data.memory", memory, "--train.num-steps", str(steps)]
    command += ["--train.seed", str(seed)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--output", str(output)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    results = json.loads((output / "results.json").read_text())
    rays = json.loads((output / "config.json").read_text())["train"]["rays_per_step"]
    return {
        "rays_per_second": round(steps * rays / results["train_seconds"]),
        "psnr": round(results["psnr"], 3),
        "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 3),
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
    }


def main() -> None:
    """Write the photos, train in pairs, and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--memory", default="2.5GB")
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    write_photos(args.folder, "train", args.photos)
    write_photos(args.folder, "val", 8)
    pairs, stamp = [], f"{time.time():.0f}"
    for pair in range(args.pairs):
        runs = {"buffer": args.memory, "whole": "1TB"}
        folders = {name: args.folder / f"{stamp}_{name}_{pair}" for name in runs}
        found = {
            name: train(args.folder, folders[name], memory, args.steps, seed=pair)
            for name, memory in runs.items()
        }
        pairs.append(found)
        print(found, flush=True)
    speed = "rays_per_second"
    relative = [each["buffer"][speed] / each["whole"][speed] for each in pairs]
    figures = {
        "photos": args.photos,
        "size_wh": [WIDTH, HEIGHT],
        "pixels_gb": round(args.photos * WIDTH * HEIGHT * 3 / 1e9, 2),
        "memory": args.memory,
        "steps": args.steps,
        "median_relative_speed": round(float(np.median(relative)), 3),
        "pairs": pairs,
    }
    write_record(Path(__file__), figures, {})


if __name__ == "__main__":
    main()
