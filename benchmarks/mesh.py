"""The mesh of the built-in scene against its exact surface: accuracy and completeness.

    python run.py --output outputs/bricks
    python benchmarks/mesh.py outputs/bricks

Accuracy is the mean distance from points on the mesh to the nearest of a million points on the
exact surface, completeness that from the exact surface to the mesh, and the chamfer distance the
mean of the two; all in percent of the scene's extent, the longest side of its bounding box.
``completeness_seen`` counts only points that a training camera sees; the others count all, such as
the underside. Writes ``benchmarks/results/mesh.json``.
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
_OFFSET = 1e-4
"""World units: a point at this distance from the surface of a part is hidden if in another part."""


def exact_surface(solids: Solids, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most ``count`` points, uniform on the surface of the union of all parts."""
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
    for index in np.flatnonzero(chosen):
        part, face = divmod(index, 6)
        unit, normal = on_face(rng, int(solids.shape[part]), face, chosen[index])
        points = (solids.low[part] + solids.high[part]) / 2 + unit * size[part] / 2
        found.append(points[~within(solids, points + _OFFSET * normal)])
    return rng.permutation(np.concatenate(found))[:count]


def on_face(
    rng: np.random.Generator, shape: int, face: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points on a face of the part that fills the cube [-1, 1]^3, and their normals."""
    axis, side = divmod(face, 2)
    unit, normal = rng.uniform(-1, 1, (count, 3)), np.zeros((count, 3))
    if shape == BOX:
        unit[:, axis] = normal[:, axis] = 2 * side - 1
        return unit, normal
    along = 2 if shape == UPRIGHT else 1
    angle = rng.uniform(0, 2 * np.pi, count)
    around = np.insert(np.stack([np.cos(angle), np.sin(angle)], axis=1), along, 0.0, axis=1)
    if axis == 0:
        normal[:, along] = 2 * side - 1
        return np.sqrt(rng.random((count, 1))) * around + normal, normal
    unit[:, [k for k in range(3) if k != along]] = 0
    return unit + around, around


def within(solids: Solids, points: np.ndarray) -> np.ndarray:
    """Whether each point is in any part."""
    found = np.zeros(len(points), bool)
    for shape, low, high in zip(solids.shape, solids.low, solids.high, strict=True):
        some = np.flatnonzero(((points > low) & (points < high)).all(axis=1))
        local = (points[some] - (low + high) / 2) / ((high - low) / 2)
        if shape != BOX:
            local = np.delete(local, 2 if shape == UPRIGHT else 1, axis=1)
            some = some[np.sum(local**2, axis=1) < 1]
        found[some] = True
    return found


def visible(origins: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether each point on the exact surface is visible from any of the origins."""

    @jax.jit
    def from_one(origin: jax.Array) -> jax.Array:
        def is_visible(point: jax.Array) -> jax.Array:
            distance = jnp.linalg.norm(point - origin)
            hit, _ = raytrace.first_hit(bricks.MODEL, origin, (point - origin) / distance)
            return hit > distance - 1e-3

        return jax.vmap(is_visible)(jnp.asarray(points, jnp.float32))

    return np.any([from_one(origin) for origin in jnp.asarray(origins, jnp.float32)], axis=0)


def score(mesh: trimesh.Trimesh, exact: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Distances between a mesh and the exact surface, in percent of its extent.

    Args:
        mesh: in the exact surface's frame.
        exact: points on it.
        seen: indices of some of them that a training camera sees.
    """
    percent = 100 / (exact.max(axis=0) - exact.min(axis=0)).max()
    ours, _ = trimesh.sample.sample_surface(mesh, COUNT, seed=0)
    to_exact = percent * cKDTree(exact).query(ours[::10])[0]
    tree = cKDTree(ours)
    to_mesh, seen_to_mesh = (percent * tree.query(each)[0] for each in (exact[::10], exact[seen]))
    return {
        "accuracy": float(to_exact.mean()),
        "accuracy_median": float(np.median(to_exact)),
        "completeness": float(to_mesh.mean()),
        "completeness_seen": float(seen_to_mesh.mean()),
        "chamfer": float(to_exact.mean() + to_mesh.mean()) / 2,
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
    seen = some[visible(origins, exact[some])]
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
