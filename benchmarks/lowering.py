"""Fingerprints of the compiled programs: the StableHLO of the training step and of ``render``.

    python benchmarks/lowering.py before.json                     # a hash for each config
    python benchmarks/lowering.py after.json --against before.json

Every packaged config for a CPU and for a GPU, and variants with appearance codes, cones, learned
poses and depths, on one and on two devices. Lowering only, no compilation. Names, locations and
metadata are left out, so that a refactoring that changes no program changes no hash.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

NUM_PHOTOS, SIZE, NUM_STEPS = 4, 16, 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--against", type=Path, help="an earlier file to compare with")
    parser.add_argument("--devices", type=int, help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.devices:
        print(json.dumps(fingerprints()))
        return 0
    found = {}
    for count in (1, 2):
        flags = f"--xla_force_host_platform_device_count={count}"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, __file__, str(args.output), "--devices", str(count)]
        process = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        of_count = json.loads(process.stdout.splitlines()[-1])
        found |= {f"{name} on {count}": hashes for name, hashes in of_count.items()}
    args.output.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(found)} pairs of programs in {args.output}")
    if not args.against:
        return 0
    before = json.loads(args.against.read_text())
    shared = found.keys() & before.keys()
    changed = sorted(name for name in shared if found[name] != before[name])
    print(f"{len(shared) - len(changed)} of {len(shared)} are the same", *changed, sep="\n  ")
    return 1 if changed else 0


def fingerprints() -> dict[str, dict[str, str]]:
    """``{config: {"train": hash, "render": hash}}`` for the devices of this process."""
    import jax
    import numpy as np

    from nerf_jax import methods, train
    from nerf_jax.devices import ray_mesh
    from nerf_jax.types import Dataset, Rays

    mesh, given, found = ray_mesh(), cameras(), {}
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), given)
    for name, config in configs():
        photos = Dataset(given, np.zeros((NUM_PHOTOS, SIZE, SIZE, 0), np.uint8))
        config = replace(config, model=methods.resolve(config.model, photos)[0])
        model, optimizer = methods.build(config), methods.make_optimizer(config.optimizer, 100.0)
        state = jax.eval_shape(
            lambda model=model, optimizer=optimizer, photos=photos: train.init_state(
                model, optimizer, photos, mesh
            )
        )
        image = (NUM_PHOTOS, SIZE, SIZE)
        depth = jax.ShapeDtypeStruct(image, np.float32) if config.model.learns_depth else None
        dataset = Dataset(shapes, jax.ShapeDtypeStruct((*image, 4), np.uint8), depth=depth)
        steps = train.make_train_steps(
            model, optimizer, mesh, config.train.rays_per_step, NUM_STEPS
        )
        count = min(4096, getattr(config.model, "max_samples", 4096))
        vector, number = (
            jax.ShapeDtypeStruct(shape, np.float32) for shape in ((count, 3), (count,))
        )
        index = jax.ShapeDtypeStruct((count,), np.int32)
        rays = Rays(vector, vector, number, number, number, index)
        render = jax.jit(model.render).lower(state.params, state.aux, rays)
        programs = {"train": steps.lower(state, dataset), "render": render}
        found[name] = {part: fingerprint(lowered.as_text()) for part, lowered in programs.items()}
    return found


def fingerprint(text: str) -> str:
    """A hash of StableHLO without locations, metadata and the names of functions."""
    text = re.sub(r'\s*jax\.(result_info|arg_info) = "[^"]*",?', "", text)
    text = re.sub(r"loc\([^)]*\)", "", text)
    names: dict[str, str] = {}
    text = re.sub(
        r"@[A-Za-z_][\w.]*", lambda found: names.setdefault(found[0], f"@f{len(names)}"), text
    )
    return hashlib.sha256(text.encode()).hexdigest()


def configs() -> Iterator[tuple[str, "object"]]:
    """The packaged configs and their variants, by name."""
    from nerf_jax import config as packaged

    for path in sorted(packaged.CONFIGS.glob("*.py")):
        for platform in ("cpu", "gpu"):
            config, name = packaged.load(path.name, platform), f"{path.stem}/{platform}"
            yield name, config
            if hasattr(config.model, "space"):
                for label, fields in {
                    "codes": {"code_size": 8, "distortion": 0.01},
                    "cone": {"footprint": "cone"},
                    "depth": {"depth_weight": 0.1},
                }.items():
                    yield f"{name}+{label}", replace(config, model=replace(config.model, **fields))
                optimizer = replace(config.optimizer, pose_learning_rate=1e-3)
                yield f"{name}+poses", replace(config, optimizer=optimizer)
    base = packaged.load("capture.py", "cpu")
    for space in ("box", "contracted", "frustum"):
        model = packaged.ProposalConfig(space=space, proposal_entries=2**12, max_entries=2**12)
        yield f"proposal/{space}", replace(base, model=model)


def cameras():
    """Some cameras side by side, NumPy arrays."""
    import numpy as np

    from nerf_jax.cameras import look_at
    from nerf_jax.types import Cameras

    angles = np.linspace(-0.3, 0.3, NUM_PHOTOS)
    origins = np.stack([np.sin(angles), -np.cos(angles), np.full(NUM_PHOTOS, 0.2)], axis=1)
    poses = [look_at(origin, np.zeros(3), np.array([0.0, 0.0, 1.0])) for origin in origins]
    return Cameras(
        world_from_camera=np.stack(poses),
        focal=np.full((NUM_PHOTOS, 2), 20.0, np.float32),
        principal=np.full((NUM_PHOTOS, 2), SIZE / 2, np.float32),
        near=np.full(NUM_PHOTOS, 0.1, np.float32),
        far=np.full(NUM_PHOTOS, 10.0, np.float32),
    )


if __name__ == "__main__":
    sys.exit(main())
