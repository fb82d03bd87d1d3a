"""The GPU presets, compiled for cards that need not be there: memory, kernels, traffic, atomics.

    pip install -e ".[cuda]"
    python benchmarks/gpu_compile.py                # every card: half an hour on two CPU cores
    python benchmarks/gpu_compile.py --cards h100   # the record keeps the rows of the others

The cards are described in ``benchmarks/gpus``. Nothing is run, so nothing is timed: milliseconds
are those of the traffic at the card's bandwidth. Writes ``benchmarks/results/gpu_compile.json``.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_program
from lowering import cameras

from nerf_jax.app.backend import allow_fast_atomics

GPUS = Path(__file__).parent / "gpus"
CARDS = ("rtx3060", "rtx4090", "a100", "h100")
CONFIGS = ("lego.py", "capture.py")
NUM_PHOTOS = 100
NUM_STEPS = 16
"""Of the scan that is compiled, whose length changes nothing but a number."""


def has_cuda() -> bool:
    """Whether jax's CUDA plugin is installed, which compiles without a GPU too."""
    return any(importlib.util.find_spec(f"jax_cuda{number}_plugin") for number in (12, 13))


def describe(card: str) -> dict[str, Any]:
    """A card's name, and its memory, L2 cache (bytes) and bandwidth (bytes a second)."""
    text = (GPUS / f"{card}.txtpb").read_text()
    found = dict(re.findall(r'^ *(\w+): "?([^"\n]+)"?$', text, re.MULTILINE))
    names = {"memory": "device_memory_size", "l2": "l2_cache_size", "bandwidth": "memory_bandwidth"}
    return {"name": found["name"], **{key: int(found[name]) for key, name in names.items()}}


def in_a_process(card: str, code: str, xla_flags: str | None = None) -> Any:
    """The value of an expression, in a process whose XLA compiles for a card.

    Args:
        card: of ``CARDS``.
        code: of this module's functions, and of ``compiler``, a :class:`Compiler`.
        xla_flags: in place of those that the program sets.
    """
    environment = os.environ | {"XLA_FLAGS": xla_flags or "", "JAX_PLATFORMS": "cuda"}
    if xla_flags is None:
        allow_fast_atomics(environment)
    environment |= {"JAX_PLATFORMS": "cpu", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}
    with tempfile.TemporaryDirectory() as dump:
        environment["XLA_FLAGS"] += f" --xla_dump_to={dump}"
        command = [sys.executable, __file__, "--cards", card, "--inside", dump, code]
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(process.stderr)
    return json.loads(process.stdout.splitlines()[-1])


class Compiler:
    """Compiles functions for a card."""

    def __init__(self, card: str, dump: str) -> None:
        import jax
        import numpy as np
        from jax.experimental import topologies

        from nerf_jax.devices import REPLICATED, ray_mesh

        target = (GPUS / f"{card}.txtpb").read_text()
        topology = topologies.get_topology_desc("", "cuda", target_config=target, topology="1x1x1")
        self.card, self.dump = describe(card), Path(dump)
        self.mesh = ray_mesh(np.asarray(topology.devices))
        self.sharding = jax.NamedSharding(self.mesh, REPLICATED)

    def on_card(self, tree: Any) -> Any:
        """The shapes of arrays, on the card."""
        import jax

        def shape(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.sharding)

        return jax.tree.map(shape, tree)

    def row(self, jitted: Any, *arguments: Any, scan: bool) -> dict[str, Any]:
        """The figures of a program, of one iteration if it is a scan."""
        compiled = jitted.lower(*map(self.on_card, arguments)).compile()
        memory = compiled.memory_analysis()
        program = gpu_program.parse(compiled.as_text())
        cost = (gpu_program.step_cost if scan else gpu_program.cost)(
            program, l2_bytes=self.card["l2"]
        )
        ptx = self.dump.glob(f"*jit_{jitted.__name__}*.ptx")
        return {
            "memory": memory.argument_size_in_bytes + memory.temp_size_in_bytes,
            "card_memory": self.card["memory"],
            "kernels": cost.num_kernels,
            "bytes": cost.num_bytes,
            "milliseconds": 1e3 * cost.num_bytes / self.card["bandwidth"],
            "host_loops": cost.host_loops,
            "branches": cost.branches,
            **gpu_program.atomics(path.read_text() for path in ptx),
        }

    def preset(self, name: str, render: bool = True) -> list[dict[str, Any]]:
        """The figures of a preset's training step and of its renderer."""
        import jax
        import numpy as np

        from nerf_jax import methods, train
        from nerf_jax.devices import ray_mesh
        from nerf_jax.types import Dataset, Rays

        config = self.config(name)
        photos = Dataset(cameras(), np.zeros((4, 16, 16, 0), np.uint8))
        config = replace(config, model=methods.resolve(config.model, photos)[0])
        model, optimizer = methods.build(config), methods.make_optimizer(config.optimizer)
        state = jax.eval_shape(lambda: train.init_state(model, optimizer, photos, ray_mesh()))
        dataset = self.dataset(config)
        steps = train.make_train_steps(
            model, optimizer, self.mesh, config.train.rays_per_step, NUM_STEPS
        )
        rays = config.train.rays_per_step
        row = self.row(steps, state, dataset, np.float32(1), scan=True)
        rows = [{"config": name, "part": f"a step of {rays:,} rays", **row}]
        if render:
            count = config.eval.rays_per_chunk
            vector, number = (jax.ShapeDtypeStruct(s, np.float32) for s in ((count, 3), (count,)))
            index = jax.ShapeDtypeStruct((count,), np.int32)
            chunk = Rays(vector, vector, number, number, number, index)

            @jax.jit
            def render_chunk(params: Any, aux: Any, rays: Rays) -> Any:
                return model.render(params, aux, rays)

            row = self.row(render_chunk, state.params, state.aux, chunk, scan=False)
            rows.append({"config": name, "part": f"rendering {count:,} rays", **row})
        return rows

    def config(self, name: str) -> Any:
        """A preset, with the space of most captures."""
        from nerf_jax import config as configs

        config = configs.load(name, "gpu", 0.75 * self.card["memory"] / 2**30)
        if getattr(config.model, "space", None) == "auto":
            config = replace(config, model=replace(config.model, space="contracted"))
        return config

    def dataset(self, config: Any) -> Any:
        """The shapes of the photos on the card."""
        import jax
        import numpy as np

        from nerf_jax.types import Dataset

        side = config.data.max_side
        image = (NUM_PHOTOS, side * 3 // 4, side) if side else (NUM_PHOTOS, 800, 800)
        pixels = jax.ShapeDtypeStruct((*image, 3 if side else 4), np.uint8)
        depth = jax.ShapeDtypeStruct(image, np.float32) if config.model.learns_depth else None
        return Dataset(cameras(), pixels, depth=depth)

    def scatter_add(self) -> dict[str, int]:
        """The atomics of a small table's gradient."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from nerf_jax.hashgrid import encode, make_levels

        levels = make_levels(1, 512, 16, 64)

        @jax.jit
        def table_gradient(tables: Any, x: Any) -> Any:
            return jax.grad(lambda t: jnp.sum(jax.vmap(lambda x: encode(t, levels, x))(x) ** 2))(
                tables
            )

        table, x = (jax.ShapeDtypeStruct(s, np.float32) for s in ((512, 2), (4096, 3)))
        row = self.row(table_gradient, [table], x, scan=False)
        return {name: row[name] for name in ("compare_and_swap", "add")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cards", nargs="+", choices=CARDS, default=CARDS)
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if not has_cuda():
        raise SystemExit('jax\'s CUDA plugin is not installed: pip install -e ".[cuda]"')
    if args.inside:
        dump, code = args.inside
        print(json.dumps(eval(code, {"compiler": Compiler(args.cards[0], dump)})))
        return
    os.environ["JAX_PLATFORMS"] = "cpu"  # the plugin fails where there is no GPU
    from record import write_record

    names = {describe(card)["name"] for card in args.cards}
    rows = []
    for card in args.cards:
        for config in CONFIGS:
            for row in in_a_process(card, f"compiler.preset({config!r})"):
                rows.append({"card": describe(card)["name"], **row})
                print(json.dumps(rows[-1]), flush=True)
    path = Path(__file__).parent / "results" / "gpu_compile.json"
    known = json.loads(path.read_text())["rows"] if path.is_file() else []
    rows += [row for row in known if row["card"] not in names]
    order = [describe(card)["name"] for card in CARDS]
    rows.sort(key=lambda row: (order.index(row["card"]), CONFIGS.index(row["config"])))
    write_record(Path(__file__), {"rows": rows}, {})


if __name__ == "__main__":
    main()
