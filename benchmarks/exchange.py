"""Bytes that processes exchange in a step of training, and the time that they take, on paper.

    python benchmarks/exchange.py

Of every packaged config: the operands of the sums over devices in the traced step, which are the
gradient and the metrics. Nothing is measured: a ring all-reduce of B bytes among N processes sends
and receives 2 B (N - 1) / N bytes in each, at the rate of its link. Prints tables, and writes
``benchmarks/results/exchange.json``.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from lowering import cameras
from record import write_record

from nerf_jax import config as packaged
from nerf_jax import methods, train
from nerf_jax.config import Config
from nerf_jax.devices import ray_mesh
from nerf_jax.types import Dataset

PROCESSES = (1, 2, 4, 8, 16, 32, 64)
GIGABITS = (10, 100)


def ring_seconds(size: float, processes: int, gigabits: float) -> float:
    """The time of an all-reduce, without latency."""
    return 2 * size * (processes - 1) / processes * 8 / (gigabits * 1e9)


def sums(jaxpr: Any) -> Iterator[Any]:
    """The operands of all sums over devices in a program, as shapes and types."""
    for equation in jaxpr.eqns:
        if equation.primitive.name.startswith("psum"):
            yield from (operand.aval for operand in equation.invars)
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        ):
            body = getattr(inner, "jaxpr", inner)
            if hasattr(body, "eqns"):
                yield from sums(body)


def exchanged(config: Config) -> dict[str, int]:
    """The bytes of the parameters, and of all that is summed over the devices in one step."""
    photos = Dataset(
        cameras(), np.zeros((4, 16, 16, 4), np.uint8), depth=np.zeros((4, 16, 16), "f")
    )
    config = replace(config, model=methods.resolve(config.model, photos)[0])
    model, optimizer = methods.build(config), methods.make_optimizer(config.optimizer, 100.0)
    mesh = ray_mesh()
    state = jax.eval_shape(lambda: train.init_state(model, optimizer, photos, mesh))
    step = train.make_train_steps(model, optimizer, mesh, config.train.rays_per_step, 1)
    traced = jax.make_jaxpr(step)(state, photos)
    return {
        "parameters": size(jax.tree.leaves(state.params)),
        "summed": size(list(sums(traced.jaxpr))),
    }


def size(arrays: list[Any]) -> int:
    """Bytes."""
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)


def main() -> None:
    found = {
        f"{path.stem}, {platform}": exchanged(packaged.load(path.name, platform))
        for path in sorted(packaged.CONFIGS.glob("*.py"))
        for platform in ("cpu", "gpu")
    }
    head = ["config", "parameters, MB", "summed a step, MB"]
    head += [f"{count} at {rate} Gbit/s" for rate in GIGABITS for count in PROCESSES[1:]]
    print("|", " | ".join(head), "|")
    print("|", " | ".join("---" for _ in head), "|")
    for name, sizes in found.items():
        row = [name, *(f"{sizes[kind] / 1e6:.2f}" for kind in ("parameters", "summed"))]
        times = [
            1e3 * ring_seconds(sizes["summed"], count, rate)
            for rate in GIGABITS
            for count in PROCESSES[1:]
        ]
        print("|", " | ".join([*row, *(f"{time:.3g}" for time in times)]), "|")
    write_record(Path(__file__), {"bytes": found}, {})


if __name__ == "__main__":
    main()
