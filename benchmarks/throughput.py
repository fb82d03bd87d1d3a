"""Training throughput of the flagship, the time of each stage, and a plain NeRF's.

    pip install torch          # the CPU build suffices; without it there is no comparison
    python benchmarks/throughput.py
    python benchmarks/throughput.py --config bricks.py --train-seconds 20

The state is first trained, so that the occupancy grid is that of a scene. Beginnings of a step of
different lengths are compiled and timed in turn; a stage is the difference of two. Beside it stands
the least time in which this machine can do the stage's matrix products and its random reads and
additions in tables (a roofline: Williams et al., 2009). Prints a table, and writes
``benchmarks/results/throughput_<preset>.json``, for lego alone.
"""

import argparse
import importlib.util
import math
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr
from jax.lax import fori_loop
from record import write_record
from trial import Trial

from nerf_jax import config as configs
from nerf_jax.methods import grid_field, make_optimizer
from nerf_jax.occupancy import find_candidates, occupied_blocks
from nerf_jax.render_sparse import Budget, render_sparse
from nerf_jax.train import fold_in_each, sample_ray


def stages(trial: Trial) -> dict[str, tuple[Callable[..., object], tuple]]:
    """Beginnings of a step that end later and later, and its other parts, with their arguments."""
    config, state = trial.config, trial.state
    method, progress = config.model, jnp.float32(1)
    params, grid = state.params, state.aux
    field = grid_field(method, grid.space)
    budget = Budget(*(getattr(method, name) for name in Budget._fields))
    keys = fold_in_each(jax.random.key(5), jnp.arange(config.train.rays_per_step))
    batch = jax.vmap(sample_ray, (None, 0))(trial.dataset, keys)._replace(progress=progress)
    gradient = jax.tree.map(jnp.ones_like, params)
    due = jnp.int32(method.grid_every * 1000 - 1)

    def list_candidates(grid, keys, rays):
        count = method.num_candidates
        offset = jax.vmap(jax.random.uniform)(keys)
        steps = jax.vmap(grid.space.ray_steps, (0, 0, None))(offset, rays, count)
        blocks = jax.vmap(occupied_blocks, (None, 0, 0, None))(grid, rays, steps, count)
        return find_candidates(grid, rays, steps, blocks, budget.max_blocks, budget.max_candidates)

    def render(params, grid, keys, rays):
        return render_sparse(field, params, grid, budget, keys, rays, progress)

    def list_samples(*given):
        return render(*given).counts["samples"]

    def update(gradient, opt_state, params):
        return optimizer.update(gradient, opt_state, params, progress=progress)

    optimizer, loss = make_optimizer(config.optimizer), trial.model.loss
    rendered = params, grid, keys, batch.rays
    return {
        "draw rays": (jax.vmap(sample_ray, (None, 0)), (trial.dataset, keys)),
        "list candidates": (list_candidates, (grid, keys, batch.rays)),
        "read densities": (list_samples, rendered),
        "read colours": (render, rendered),
        "gradient": (jax.value_and_grad(loss, has_aux=True), (params, grid, keys, batch)),
        "optimiser": (update, (gradient, state.opt_state, params)),
        "grid refresh": (trial.model.refresh, (params, grid, jax.random.key(7), due)),
    }


FIRST = ("draw rays", "list candidates", "optimiser", "grid refresh")
"""Stages that are not the continuation of the stage before."""


class Work(NamedTuple):
    """What a program must do on any machine."""

    flops: float = 0.0
    """Of matrix products."""
    reads: float = 0.0
    """Rows of tables that are read at random."""
    writes: float = 0.0
    """Rows of tables that are added to at random."""
    streamed: float = 0.0
    """Bytes that are read or written in order: counted of the optimiser alone."""

    def plus(self, other: "Work", times: float = 1.0) -> "Work":
        return Work(*(a + times * b for a, b in zip(self, other, strict=True)))


_LARGE = 2**18
"""Elements of an array that is read at random and exceeds a core's cache."""


def work(function: Callable[..., object], given: tuple, iterations: int) -> Work:
    """The work of a program whose loops of unknown length take some number of iterations."""
    program = jax.make_jaxpr(function)(*given).jaxpr
    program, _ = dce_jaxpr(program, [True] * len(program.outvars))
    return _work(program, iterations)


def _work(program: Any, iterations: int) -> Work:
    total = Work()
    for line in program.eqns:
        name, shapes = line.primitive.name, [value.aval for value in line.invars]
        params = line.params
        # Of a branch the last one is taken: it is the grid's refresh.
        params = {"while": params.get("body_jaxpr"), "cond": params.get("branches", ())[-1:]}.get(
            name, params
        )
        times = {"while": iterations, "scan": line.params.get("length", 1)}.get(name, 1)
        for inner in jax.tree.leaves(params, is_leaf=_is_program):
            if _is_program(inner):
                total = total.plus(_work(getattr(inner, "jaxpr", inner), iterations), times)
        if name == "dot_general":
            (contracted, _), _ = line.params["dimension_numbers"]
            depth = math.prod(shapes[0].shape[axis] for axis in contracted)
            total = total.plus(Work(flops=2 * depth * line.outvars[0].aval.size))
        elif name in ("gather", "scatter-add") and shapes[0].size >= _LARGE:
            rows = shapes[1].size / shapes[1].shape[-1]
            total = total.plus(Work(reads=rows) if name == "gather" else Work(writes=rows))
    return total


def _is_program(value: object) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def loop_iterations(function: Callable[..., object], given: tuple) -> int:
    """How often the density loop is run: it is counted without compilation."""
    count = 0

    def counted(condition, body, state):
        nonlocal count
        while condition(state):
            state, count = body(state), count + 1
        return state

    with mock.patch("jax.lax.while_loop", counted):
        function(*given)
    return count


def limits() -> dict[str, float]:
    """What this machine does in a second: operations of large matrix products, and random rows of
    four numbers of a table of 2^18 that are read, and added to.
    """
    key = jax.random.key(0)
    square = jax.random.normal(key, (2048, 2048))
    table = jax.random.normal(key, (2**18, 4))
    rows = jax.random.randint(key, (2**20,), 0, len(table))
    added, stream = jax.random.normal(key, (len(rows), 4)), jnp.zeros(2**24)
    calls = {
        "flops": (2 * 2048**3, lambda a: a @ a, (square,)),
        # Summed as they are read: nothing is written.
        "reads": (
            len(rows),
            lambda t, i: jnp.sum(t.at[i].get(mode="promise_in_bounds"), 0),
            (table, rows),
        ),
        "writes": (len(rows), lambda t, i, x: t.at[i].add(x), (table, rows, added)),
        # In place, as new memory would have to be cleared first.
        "streamed": (
            16 * stream.nbytes,
            lambda x: fori_loop(0, 8, lambda i, x: x + i, x),
            (stream,),
        ),
    }
    found = {}
    for name, (amount, function, given) in calls.items():
        call = compiled(function, given)
        found[name] = amount / min(seconds(call) for _ in range(5))
    return found


def compiled(function: Callable[..., object], given: tuple) -> Callable[[], object]:
    """The compiled function on its arguments, as a call without arguments."""
    program = jax.jit(function).lower(*given).compile()
    return lambda: jax.block_until_ready(program(*given))


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(trial: Trial, rounds: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The time and the least time of each stage, and what the machine does in a second."""
    parts = stages(trial)
    iterations = loop_iterations(*parts["read densities"])
    done = {name: work(*part, iterations) for name, part in parts.items()}
    update, given = parts["optimiser"]
    arrays = jax.tree.leaves((given, jax.eval_shape(update, *given)))
    done["optimiser"] = Work(streamed=sum(x.size * x.dtype.itemsize for x in arrays))
    calls = {name: compiled(*part) for name, part in parts.items()}
    timed: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            timed[name].append(seconds(call))
    machine, before, table = limits(), None, []
    for name in parts:
        first = before is None or name in FIRST
        taken = np.array(timed[name]) - (0 if first else np.array(timed[before]))
        own = done[name] if first else done[name].plus(done[before], -1)
        share = 1 / trial.config.model.grid_every if name == "grid refresh" else 1
        least = sum(amount / machine[kind] for kind, amount in own._asdict().items())
        row = {"stage": name, "ms": 1e3 * share * float(np.median(taken))}
        row |= {kind: share * amount for kind, amount in own._asdict().items()}
        table.append(row | {"least_ms": 1e3 * share * least})
        print("{stage:18s} {ms:7.2f} ms, at least {least_ms:6.2f} ms".format(**table[-1]))
        before = name
    return table, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--config", default="lego.py")
    parser.add_argument("--train-seconds", type=float, default=60.0, help="before measuring")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    trial = Trial(configs.load(args.config, args.preset))
    trial.train(args.train_seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    table, machine = measure(trial, args.rounds)

    has_torch = importlib.util.find_spec("torch") is not None
    ours, steps, theirs, versions = [], [], [], {}
    if has_torch:
        import torch
        from tutorial_throughput import in_torch

        plain, versions = in_torch(1024), {"torch": torch.__version__}
        plain()
    for _ in range(args.rounds):
        before, start = trial.seconds, trial.step
        metrics = trial.train(before + 1e-9)  # one call
        steps.append((trial.seconds - before) / (trial.step - start))
        ours.append(metrics["kept"] * trial.config.train.rays_per_step / steps[-1])
        theirs += [1024 / seconds(plain)] if has_torch else []
    figures = {
        "preset": args.preset,
        "trained_seconds": args.train_seconds,
        "stages": table,
        "machine_per_second": machine,
        "step_ms": 1e3 * float(np.median(steps)),
        "metrics": metrics,
        "rays_per_second": float(np.median(ours)),
        "peak_rss_mib": peak,
        "planned_mib": trial.planned_mib,
    }
    print(f"a step: {figures['step_ms']:.1f} ms")
    print(f"training: {figures['rays_per_second']:,.0f} rays/s; peak memory {peak:,} MiB")
    if has_torch:
        ratio = float(np.median([a / b for a, b in zip(ours, theirs, strict=True)]))
        figures |= {"plain_pytorch_rays_per_second": float(np.median(theirs)), "ratio": ratio}
        print(f"plain NeRF in PyTorch: {np.median(theirs):,.0f} rays/s, so {ratio:,.0f} times")
    if args.config == "lego.py":
        write_record(Path(__file__), figures, versions, name=f"throughput_{args.preset}")


if __name__ == "__main__":
    main()
