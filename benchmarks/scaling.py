"""The cost of the flagship over rays, samples, table size, image size and devices.

    python benchmarks/scaling.py

One value of the preset is changed at a time. The occupancy grid and, if the shapes agree, the
parameters are those of a scene trained for a minute, so that rays meet realistic cells. Prints
tables, and writes ``benchmarks/results/scaling_<preset>.json``.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from record import write_record
from trial import Trial, lego

from nerf_jax.cameras import resize
from nerf_jax.config import Config
from nerf_jax.methods import make_optimizer
from nerf_jax.train import init_state, make_train_steps

FACTORS = (0.25, 0.5, 1, 2, 4)


def step_milliseconds(trial: Trial, config: Config, calls: int = 5, steps: int = 10) -> float:
    """The time of a config's training step on a trial's scene and grid, median over calls."""
    other = trial if config == trial.config else _like(trial, config)
    optimizer = make_optimizer(config.optimizer)
    state = init_state(other.model, optimizer, trial.dataset, trial.mesh)
    same = jax.tree.map(np.shape, state.params) == jax.tree.map(np.shape, trial.state.params)
    params = jax.tree.map(np.array, trial.state.params) if same else state.params
    aux = jax.tree.map(np.array, trial.state.aux)
    state = state._replace(params=params, aux=aux, step=np.int32(10_000))
    rays = config.train.rays_per_step
    program = make_train_steps(other.model, optimizer, trial.mesh, rays, steps)
    program = program.lower(state, trial.dataset).compile()
    taken = []
    for _ in range(calls + 1):
        start = time.perf_counter()
        state, metrics = program(state, trial.dataset)
        jax.block_until_ready(metrics)
        taken.append(time.perf_counter() - start)
    return 1e3 * float(np.median(taken[1:])) / steps


def _like(trial: Trial, config: Config) -> Trial:
    from nerf_jax import methods

    other = object.__new__(Trial)
    other.__dict__ = {**trial.__dict__, "config": config, "model": methods.build(config)}
    return other


def sweep(trial: Trial, part: str, name: str) -> list[dict[str, float]]:
    """The step's time over a field of the config, from a quarter to four times the preset.

    A step has at least one sample per ray: rays are limited to the number of samples.
    """
    rows, base = [], getattr(getattr(trial.config, part), name)
    for factor in FACTORS:
        value = int(base * factor)
        section = replace(getattr(trial.config, part), **{name: value})
        config = replace(trial.config, **{part: section})
        fitting = min(config.train.rays_per_step, config.model.max_samples)
        if name == "rays_per_step" and fitting < value:
            continue
        config = replace(config, train=replace(config.train, rays_per_step=fitting))
        taken = step_milliseconds(trial, config)
        rows.append({name: value, "milliseconds": taken})
        print(f"{name:16s} {value:9,d}  {taken:8.2f} ms per step", flush=True)
    return rows


def images(trial: Trial) -> list[dict[str, float]]:
    """The time of rendering a view, over its size."""
    rows, (height, width) = [], trial.size_hw
    for factor in (0.25, 0.5, 1, 2):
        size = int(height * factor), int(width * factor)
        cameras = resize(trial.held_out.cameras, factor)
        taken = []
        for index in (0, 0, 12, 24, 36, 48):
            start = time.perf_counter()
            trial.render(trial.state.params, trial.state.aux, cameras, index, size)
            taken.append(time.perf_counter() - start)
        rows.append({"height": size[0], "width": size[1], "seconds": float(np.mean(taken[1:]))})
        print(f"view {size[1]}x{size[0]}: {rows[-1]['seconds']:.2f} s", flush=True)
    return rows


def devices(trial: Trial, preset: str) -> list[dict[str, float]]:
    """The step's time over virtual devices of one CPU, for the same rays and samples in total."""
    rows = []
    for count in (1, 2):
        flags = f"--xla_force_host_platform_device_count={count}"
        command = [sys.executable, __file__, "--preset", preset, "--devices", str(count)]
        environment = {**os.environ, "XLA_FLAGS": flags}
        finished = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        )
        rows.append(json.loads(finished.stdout.splitlines()[-1]))
        print(f"{count} devices: {rows[-1]['milliseconds']:.2f} ms per step", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--train-seconds", type=float, default=60.0, help="before measuring")
    parser.add_argument("--devices", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.devices:
        config = lego(args.preset)
        samples = config.model.max_samples // args.devices
        trial = Trial(lego(args.preset, max_samples=samples))
        trial.train(20.0)
        taken = step_milliseconds(trial, trial.config)
        print(json.dumps({"devices": args.devices, "milliseconds": taken}))
        return
    trial = Trial(lego(args.preset))
    trial.train(args.train_seconds)
    figures = {
        "rays": sweep(trial, "train", "rays_per_step"),
        "samples": sweep(trial, "model", "max_samples"),
        "entries": sweep(trial, "model", "max_entries"),
        "image": images(trial),
    }
    if args.preset == "cpu":
        figures["devices"] = devices(trial, args.preset)
    write_record(Path(__file__), figures, {}, name=f"scaling_{args.preset}")


if __name__ == "__main__":
    main()
