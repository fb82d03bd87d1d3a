"""Scores of captures, from bare photos to held-out views, with one config for all of them.

    python benchmarks/captures.py before=../before after=. --scenes sceaux kitchen
    python benchmarks/captures.py all=. "no depths=. --model.depth_weight 0"

Each variant is a name, a checkout of this package, and options of ``run.py``. Every capture is
prepared once, by the last variant's code; then each variant trains it for the same time and is
scored on every eighth photo. Folders that are there already are used again. Writes
``benchmarks/results/captures.json``.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from record import write_record

PREPARED = {"sceaux": "sceaux", "kitchen": "kitchen", "llff_flower": "llff_flower"}
"""Folders of bare photos."""
OPTIONS = {
    "fox": ["--data.root", "{data}/fox"],
    "fox_quarter": ["--data.root", "{work}/fox_quarter"],
    "fern": ["--data.root", "{data}/nerf_llff_data/fern", "--data.downscale", "8"],
} | {name: ["--data.root", f"{{work}}/{name}"] for name in PREPARED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+", help="NAME=CHECKOUT [OPTIONS]")
    parser.add_argument("--scenes", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("NERF_JAX_DATA", "data")))
    parser.add_argument("--seconds", type=float, default=300.0, help="of training, each")
    parser.add_argument("--steps", type=int, help="in place of a time: fair on a busy machine")
    parser.add_argument("--work", type=Path, default=Path("outputs/captures"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    variants = {name: shlex.split(rest) for name, rest in (v.split("=", 1) for v in args.variants)}
    code = Path(list(variants.values())[-1][0]).resolve()
    rows = []
    for scene in args.scenes:
        prepare(scene, args.data, args.work, code)
        for name, (checkout, *options) in variants.items():
            run = args.work / f"{scene}-{name.replace(' ', '_')}"
            train(scene, run, Path(checkout).resolve(), options, args)
            rows.append({"scene": scene, "variant": name, **row(run)})
            print("{scene:12s} {variant:12s} {psnr:.2f} dB  SSIM {ssim:.3f}".format(**rows[-1]))
    figures = {"seconds": args.seconds, "steps": args.steps, "newest": list(variants)[-1]}
    write_record(Path(__file__), figures | {"rows": rows}, {})


def prepare(scene: str, data: Path, work: Path, code: Path) -> None:
    """Make the capture's folder, unless it is there or needs none."""
    folder = work / scene
    if scene in PREPARED and not (folder / "transforms.json").exists():
        command(code, "prepare", data / PREPARED[scene], "--output", folder)
    if scene == "fox_quarter" and not folder.exists():
        folder.mkdir()
        (folder / "images").symlink_to((data / "fox" / "images").resolve())
        file = json.loads((data / "fox" / "transforms.json").read_text())
        file["frames"].sort(key=lambda frame: frame["file_path"])
        there = [f for f in file["frames"] if (data / "fox" / f["file_path"]).exists()]
        # Held out as of all photos; of the others every fourth is left to learn from.
        held_out = there[::8]
        train = [frame for index, frame in enumerate(there) if index % 8][::4]
        file["frames"] = held_out + train
        file["train_filenames"] = [frame["file_path"] for frame in train]
        file["val_filenames"] = [frame["file_path"] for frame in held_out]
        (folder / "transforms.json").write_text(json.dumps(file))


def train(scene: str, run: Path, code: Path, options: list[str], args: argparse.Namespace) -> None:
    if (run / "results.json").exists():
        return
    where = {"data": args.data.resolve(), "work": args.work.resolve()}
    own = [option.format(**where) for option in OPTIONS[scene]]
    seconds, steps = (None, args.steps) if args.steps else (args.seconds, 10**6)
    limits = ["--train.max_seconds", seconds, "--train.num_steps", steps]
    output = ["--render.num_frames", 0, "--output", run.resolve()]
    command(code, "--config", "capture.py", *own, *limits, *output, *options)


def command(code: Path, *arguments: object) -> None:
    environment = os.environ | {"PYTHONPATH": str(code)}
    line = [sys.executable, str(code / "run.py"), *map(str, arguments)]
    subprocess.run(line, env=environment, check=True)


def row(run: Path) -> dict[str, object]:
    """The scores of a finished run."""
    found = json.loads((run / "results.json").read_text())
    views = {view["name"]: view["psnr"] for view in found["per_image"]}
    return {
        "image_size_hw": found["protocol"]["image_size_hw"],
        "train_seconds": found["train_seconds"],
        "steps": found["steps"],
        "psnr": found["psnr"],
        "ssim": found["ssim"],
        "worst": min(views.values()),
        "views": views,
    }


if __name__ == "__main__":
    main()
