"""The mesh of the built-in scene against its exact surface: how far off, and what is missing.

    python run.py --output outputs/bricks
    python benchmarks/mesh.py outputs/bricks

Accuracy is the mean distance from places all over the mesh to the nearest of a million on the exact
surface, completeness that from the exact surface to the mesh, and the chamfer distance the mean of
the two; all as parts of the scene's extent, the longest side of the box around it. What no training
camera sees, such as the underside, is in all but the completeness of what is seen. Writes
``benchmarks/results/mesh.json``.
"""

import argparse
import json
import os
import tempfile
import time
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from record import write_record
from scipy.spatial import cKDTree

from nerf_jax.app import trained
from nerf_jax.app.mesh import export_scene
from nerf_jax.app.runs import Run
from nerf_jax.config import ExportConfig
from nerf_jax.scenes import bricks, raytrace
from nerf_jax.scenes.raytrace import BOX, UPRIGHT, Solids

COUNT = 1_000_000
_OUT = 1e-4
"""World units: so far off the surface of one part, a place is within another or in the open."""


def exact_surface(solids: Solids, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most so many places, spread evenly over all that no part hides of another."""
    size = (solids.high - solids.low).astype(float)
    radius, length = size[:, 0] / 2, np.where(solids.shape == UPRIGHT, size[:, 2], size[:, 1])
    sides = np.prod(size, axis=1, keepdims=True) / size
    cap, mantle = np.pi * radius**2, 2 * np.pi * radius * length
    # Six faces of a box; the two caps and the mantle of a cylinder.
    box, cylinder = (
        np.repeat(sides, 2, axis=1),
        np.stack([cap, cap, mantle, *[0 * cap] * 3], axis=1),
    )
    area = np.where(solids.shape[:, None] == BOX, box, cylinder).reshape(-1)
    chosen = np.bincount(rng.choice(area.size, 3 * count, p=area / area.sum()), minlength=area.size)
    found = []
    for number in np.flatnonzero(chosen):
        part, face = divmod(number, 6)
        unit, normal = on_face(rng, int(solids.shape[part]), face, chosen[number])
        places = (solids.low[part] + solids.high[part]) / 2 + unit * size[part] / 2
        found.append(places[~within(solids, places + _OUT * normal)])
    return rng.permutation(np.concatenate(found))[:count]


def on_face(
    rng: np.random.Generator, shape: int, face: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places on a face of the part that just fits into the cube of [-1, 1], and their normals."""
    axis, side = divmod(face, 2)
    unit, normal = rng.uniform(-1, 1, (count, 3)), np.zeros((count, 3))
    if shape == BOX:
        unit[:, axis] = normal[:, axis] = 2 * side - 1
        return unit, normal
    along = 2 if shape == UPRIGHT else 1
    turn = rng.uniform(0, 2 * np.pi, count)
    around = np.insert(np.stack([np.cos(turn), np.sin(turn)], axis=1), along, 0.0, axis=1)
    if axis == 0:
        normal[:, along] = 2 * side - 1
        return np.sqrt(rng.random((count, 1))) * around + normal, normal
    unit[:, [k for k in range(3) if k != along]] = 0
    return unit + around, around


def within(solids: Solids, places: np.ndarray) -> np.ndarray:
    """Whether places are in any part."""
    found = np.zeros(len(places), bool)
    for shape, low, high in zip(solids.shape, solids.low, solids.high, strict=True):
        some = np.flatnonzero(((places > low) & (places < high)).all(axis=1))
        local = (places[some] - (low + high) / 2) / ((high - low) / 2)
        if shape != BOX:
            local = np.delete(local, 2 if shape == UPRIGHT else 1, axis=1)
            some = some[np.sum(local**2, axis=1) < 1]
        found[some] = True
    return found


def seen_by(origins: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Which places on the exact surface are in sight of any of some cameras."""

    @jax.jit
    def by_one(origin: jax.Array) -> jax.Array:
        def look(place: jax.Array) -> jax.Array:
            distance = jnp.linalg.norm(place - origin)
            hit, _ = raytrace.first_hit(bricks.MODEL, origin, (place - origin) / distance)
            return hit > distance - 1e-3

        return jax.vmap(look)(jnp.asarray(places, jnp.float32))

    return np.any([by_one(origin) for origin in jnp.asarray(origins, jnp.float32)], axis=0)


def score(mesh: trimesh.Trimesh, exact: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Distances between a mesh and the exact surface, in percent of its extent.

    Args:
        mesh: in the exact surface's frame.
        exact: places on that.
        seen: the numbers of some of them that a camera sees.
    """
    percent = 100 / (exact.max(axis=0) - exact.min(axis=0)).max()
    ours, _ = trimesh.sample.sample_surface(mesh, COUNT, seed=0)
    off = percent * cKDTree(exact).query(ours[::10])[0]
    missing = cKDTree(ours)
    complete, in_sight = (
        percent * missing.query(places)[0] for places in (exact[::10], exact[seen])
    )
    return {
        "accuracy": float(off.mean()),
        "accuracy_median": float(np.median(off)),
        "completeness": float(complete.mean()),
        "completeness_seen": float(in_sight.mean()),
        "chamfer": float(off.mean() + complete.mean()) / 2,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run of the built-in scene")
    parser.add_argument("--resolution", type=int, nargs="+", default=[128, 256])
    args = parser.parse_args()
    scene = trained.load(Run(args.run))
    exact = exact_surface(bricks.MODEL, COUNT, np.random.default_rng(0))
    some = np.arange(0, len(exact), 20)
    origins = np.asarray(scene.cameras().world_from_camera)[:, :, 3]
    seen = some[seen_by(origins, exact[some])]
    rows = []
    for surface in ("density", "fusion"):
        for resolution in args.resolution:
            wanted = ExportConfig(parts=("mesh",), surface=surface, resolution=resolution)
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                path, _ = export_scene(scene, wanted, Path(folder), on_progress=lambda *_: None)
                mesh = trimesh.load(path, process=False)
            rows.append(
                {
                    "surface": surface,
                    "resolution": resolution,
                    "seconds": time.perf_counter() - start,
                    "vertices": len(mesh.vertices),
                    "watertight": bool(mesh.is_watertight),
                    **score(mesh, exact, seen),
                }
            )
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()})
    results = json.loads((args.run / "results.json").read_text())
    figures = {
        "rows": rows,
        "seen_percent": 100 * len(seen) / len(some),
        "train_seconds": results["train_seconds"],
        "psnr": results["psnr"],
        "load_average": os.getloadavg()[0],
    }
    versions = {name: metadata.version(name) for name in ("scikit-image", "trimesh")}
    write_record(Path(__file__), figures, versions)


if __name__ == "__main__":
    main()
