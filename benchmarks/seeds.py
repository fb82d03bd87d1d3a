"""PSNR of lego and mic over training time with several seeds, another version beside.

    git worktree add ../former f70ad02
    python benchmarks/seeds.py --former ../former     # four hours on two CPU cores

The runs follow each other, in pairs: this version and the former one, each with its own CPU preset
of ``lego.py``. Writes ``benchmarks/results/seeds.json``.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
MARKS = (30, 60, 90, 120, 150, 180, 210, 240, 300, 420)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--former", type=Path, help="the root of another version")
    parser.add_argument("--scenes", nargs="+", default=["lego", "mic"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=600.0, help="of training")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        print(json.dumps(curve(args.scenes[0], args.seeds[0], args.seconds)))
        return
    from record import write_record

    versions = {"this": ROOT} | ({"former": args.former.resolve()} if args.former else {})
    rows = []
    for scene in args.scenes:
        for seed in args.seeds:
            for version, root in versions.items():
                row = in_version(root, scene, seed, args.seconds)
                rows.append({"scene": scene, "seed": seed, "version": version, **row})
                print(rows[-1])
    write_record(Path(__file__), {"seconds": args.seconds, "rows": rows}, {})


def in_version(root: Path, scene: str, seed: int, seconds: float) -> dict[str, Any]:
    """The curve of a run of a version, in a process of its own."""
    command = [sys.executable, __file__, "--inside", "--scenes", scene]
    command += ["--seeds", str(seed), "--seconds", str(seconds)]
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'benchmarks'}"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def curve(scene: str, seed: int, seconds: float) -> dict[str, Any]:
    """The PSNR at some times of views 0, 12, ..., 84, and of all views at the end."""
    sys.path.remove(str(Path(__file__).parent))  # the version's own, by PYTHONPATH
    from trial import Trial, lego

    config = lego("cpu")
    train = replace(config.train, seed=seed, max_seconds=seconds)
    config = replace(config, data=replace(config.data, scene=scene), train=train)
    trial, rows = Trial(config), []
    for mark in [*(mark for mark in MARKS if mark < seconds), seconds]:
        trial.train(mark, config.train.num_steps)
        scores = trial.psnrs(range(0, 85, 12))
        row = {"seconds": round(trial.seconds, 2), "step": trial.step}
        rows.append(row | {"psnr": float(np.mean(scores)), "worst": min(scores)})
        if trial.step >= config.train.num_steps:
            break
    every = trial.psnrs(range(len(trial.held_out.pixels)))
    return {"curve": rows, "all_views": {"mean": float(np.mean(every)), "worst": min(every)}}


if __name__ == "__main__":
    main()
