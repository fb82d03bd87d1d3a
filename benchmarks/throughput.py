"""Training throughput of the flagship on lego, the time of each stage, and a plain NeRF's.

    pip install torch          # the CPU build suffices; without it there is no comparison
    python benchmarks/throughput.py

The state is first trained, so that the occupancy grid is that of a scene. Stages are compiled
separately and timed in turn; in the complete step they overlap, so their sum is not its time.
Prints tables, and writes ``benchmarks/results/throughput_<preset>.json``.
"""

import argparse
import importlib.util
import resource
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import write_record
from trial import Trial, lego

from nerf_jax import hashgrid, occupancy
from nerf_jax.methods import grid_field, make_optimizer
from nerf_jax.train import fold_in_each, sample_ray
from nerf_jax.types import Point, View


def stages(trial: Trial) -> dict[str, Callable[[], object]]:
    """Compiled parts of a step, on the trial's state; each a call without arguments."""
    config, state = trial.config, trial.state
    method, rays = config.model, config.train.rays_per_step
    params, grid = state.params, state.aux
    field = grid_field(method, grid.space)
    optimizer = make_optimizer(config.optimizer)
    keys = fold_in_each(jax.random.key(5), jnp.arange(rays))
    batch = jax.vmap(sample_ray, (None, 0))(trial.dataset, keys)
    key, due = jax.random.key(7), jnp.int32(method.grid_every * 1000 - 1)
    gradient = jax.tree.map(jnp.ones_like, params)

    def march(batch, grid):
        count = method.num_candidates
        steps = jax.vmap(grid.space.ray_steps, (None, 0, None))(None, batch.rays, count)
        near = jax.vmap(occupancy.occupied_blocks, (None, 0, 0, None))(
            grid, batch.rays, steps, count
        )
        slots = 3 * method.max_samples, 6 * method.max_samples
        return occupancy.find_candidates(grid, batch.rays, steps, near, *slots)

    levels = hashgrid.make_levels(
        method.num_levels, method.max_entries, method.min_resolution, method.max_resolution
    )
    tables = params["params"]["tables"]
    x = jax.random.uniform(key, (method.max_samples, 3))
    world = Point(jax.vmap(grid.space.from_unit)(x), jnp.zeros_like(x))
    view = View(x, jnp.zeros(len(x), jnp.int32))

    def encode(tables, x):
        return jax.vmap(lambda x: hashgrid.encode(tables, levels, x))(x)

    def read(params, world):
        sigma, features = jax.vmap(field.density, (None, 0))(params, world)
        return sigma, jax.vmap(field.color, (None, 0, 0))(params, features, view)

    def total(function):
        return jax.grad(lambda *given: sum(map(jnp.sum, jax.tree.leaves(function(*given)))))

    loss = trial.model.loss
    parts = {
        "draw rays": (
            lambda data, keys: jax.vmap(sample_ray, (None, 0))(data, keys),
            trial.dataset,
            keys,
        ),
        "march and pack": (march, batch, grid),
        "loss, forward": (loss, params, grid, keys, batch),
        "loss and gradient": (jax.value_and_grad(loss, has_aux=True), params, grid, keys, batch),
        "optimiser": (optimizer.update, gradient, state.opt_state, params),
        "grid refresh (rarely)": (trial.model.refresh, params, grid, key, due),
        "encode, forward": (encode, tables, x),
        "encode, gradient": (total(encode), tables, x),
        "field, forward": (read, params, world),
        "field, gradient": (total(read), params, world),
    }

    def compiled(function, *given):
        program = jax.jit(function).lower(*given).compile()
        return lambda: jax.block_until_ready(program(*given))

    return {name: compiled(*part) for name, part in parts.items()}


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--train-seconds", type=float, default=60.0, help="before measuring")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    trial = Trial(lego(args.preset))
    trial.train(args.train_seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    parts = stages(trial)
    timed: dict[str, list[float]] = {name: [] for name in parts}
    for round_number in range(args.rounds + 1):
        for name, call in parts.items():
            taken = seconds(call)
            timed[name] += [taken] if round_number else []  # the first is warm-up
    table = {name: 1e3 * float(np.median(taken)) for name, taken in timed.items()}
    for name, value in table.items():
        print(f"{name:24s} {value:8.2f} ms")

    has_torch = importlib.util.find_spec("torch") is not None
    ours, theirs, versions = [], [], {}
    if has_torch:
        import torch
        from tutorial_throughput import in_torch

        plain, versions = in_torch(1024), {"torch": torch.__version__}
        plain()
    for _ in range(args.rounds):
        before, start = trial.seconds, trial.step
        metrics = trial.train(before + 1e-9)  # one call
        rate = metrics["kept"] * trial.config.train.rays_per_step
        ours.append(rate * (trial.step - start) / (trial.seconds - before))
        theirs += [1024 / seconds(plain)] if has_torch else []
    figures = {
        "preset": args.preset,
        "trained_seconds": args.train_seconds,
        "milliseconds": table,
        "metrics": metrics,
        "rays_per_second": float(np.median(ours)),
        "peak_rss_mib": peak,
        "planned_mib": trial.planned_mib,
    }
    print(f"training: {figures['rays_per_second']:,.0f} rays/s; peak memory {peak:,} MiB")
    if has_torch:
        ratio = float(np.median([a / b for a, b in zip(ours, theirs, strict=True)]))
        figures |= {"plain_pytorch_rays_per_second": float(np.median(theirs)), "ratio": ratio}
        print(f"plain NeRF in PyTorch: {np.median(theirs):,.0f} rays/s, so {ratio:,.0f} times")
    write_record(Path(__file__), figures, versions, name=f"throughput_{args.preset}")


if __name__ == "__main__":
    main()
