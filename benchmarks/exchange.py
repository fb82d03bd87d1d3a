"""Bytes that the devices exchange in a step of training.

    python benchmarks/exchange.py

Of every packaged config: the operands of the sums over devices in the traced step, which are the
gradient and the metrics. Nothing is trained. Writes ``benchmarks/results/exchange.json``; what it
means for a network is in ``report.py``.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params
from lowering import NUM_PHOTOS, SIZE, cameras
from record import write_record

from nerf_jax import config as packaged
from nerf_jax import methods, train
from nerf_jax.config import Config
from nerf_jax.devices import ray_mesh
from nerf_jax.types import Dataset


def sums(jaxpr: Any) -> Iterator[Any]:
    """The operands of all sums over devices in a program, as shapes and types."""
    for equation in jaxpr.eqns:
        if equation.primitive.name.startswith("psum"):
            yield from (operand.aval for operand in equation.invars)
        for inner in jaxprs_in_params(equation.params):
            yield from sums(inner)


def exchanged(config: Config) -> dict[str, int]:
    """The bytes of the parameters, and of all that is summed over the devices in one step."""
    shape = NUM_PHOTOS, SIZE, SIZE
    photos = Dataset(cameras(), np.zeros((*shape, 4), np.uint8), depth=np.zeros(shape, np.float32))
    config = replace(config, model=methods.resolve(config.model, photos)[0])
    model, optimizer = methods.build(config), methods.make_optimizer(config.optimizer, 100.0)
    mesh = ray_mesh()
    state = jax.eval_shape(lambda: train.init_state(model, optimizer, photos, mesh))
    step = train.make_train_steps(model, optimizer, mesh, config.train.rays_per_step, 1)
    summed = sums(jax.make_jaxpr(step)(state, photos).jaxpr)
    return {"parameters": size(jax.tree.leaves(state.params)), "summed": size(summed)}


def size(arrays: Iterator[Any] | list[Any]) -> int:
    """Bytes."""
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)


def main() -> None:
    found = {
        f"{path.stem}, {platform}": exchanged(packaged.load(path.name, platform))
        for path in sorted(packaged.CONFIGS.glob("*.py"))
        for platform in ("cpu", "gpu")
    }
    write_record(Path(__file__), {"bytes": found}, {})


if __name__ == "__main__":
    main()
