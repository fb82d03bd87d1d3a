"""Poses that ``prepare`` finds, against known poses: time, number of photos, and errors.

    python benchmarks/poses.py                      # the 50 fox photos of NERF_JAX_DATA
    python benchmarks/poses.py --out data/fox-own   # and keep the scene

The camera centres are aligned with those of the fox's own ``transforms.json`` by a similarity, and
the remaining distances are in percent of the scene's extent, the largest distance between two
cameras. Writes ``benchmarks/results/poses.json``.
"""

import argparse
import json
import os
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
from record import write_record

from nerf_jax.app.prepare import Settings, prepare_scene


def poses(transforms: Path) -> dict[str, np.ndarray]:
    """``world_from_camera`` of each image, by its file's name."""
    frames = json.loads(transforms.read_text())["frames"]
    return {Path(frame["file_path"]).name: np.array(frame["transform_matrix"]) for frame in frames}


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and shift that align points by least squares (Umeyama, 1991)."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    u, spread, vt = np.linalg.svd((target - target_mean).T @ (source - source_mean))
    mirror = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * mirror) @ vt
    scale = float((spread * mirror).sum() / ((source - source_mean) ** 2).sum())
    return scale, rotation, target_mean - scale * rotation @ source_mean


def compare(found: dict[str, np.ndarray], known: dict[str, np.ndarray]) -> dict[str, float]:
    """Errors of the camera centres and rotations, after alignment."""
    names = sorted(found.keys() & known.keys())
    ours = np.stack([found[name] for name in names])
    truth = np.stack([known[name] for name in names])
    scale, rotation, shift = similarity(ours[:, :3, 3], truth[:, :3, 3])
    centres = scale * ours[:, :3, 3] @ rotation.T + shift
    between = truth[:, None, :3, 3] - truth[None, :, :3, 3]
    extent = np.linalg.norm(between, axis=-1).max()
    error = np.linalg.norm(centres - truth[:, :3, 3], axis=1) / extent
    rotations = np.swapaxes(truth[:, :3, :3], 1, 2) @ rotation @ ours[:, :3, :3]
    cosines = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
    degrees = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return {
        "compared": len(names),
        "centre_mean_percent": 100 * float(error.mean()),
        "centre_median_percent": 100 * float(np.median(error)),
        "centre_worst_percent": 100 * float(error.max()),
        "rotation_mean_degrees": float(degrees.mean()),
        "rotation_worst_degrees": float(degrees.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder that keeps the scene")
    args = parser.parse_args()
    fox = Path(os.environ["NERF_JAX_DATA"]) / "fox"
    load = round(os.getloadavg()[0], 1)  # of other programs; times are comparable only near 0
    with tempfile.TemporaryDirectory() as folder:
        out = args.out or Path(folder) / "fox"
        report = prepare_scene(fox / "images", out, Settings())
        against = compare(poses(out / "transforms.json"), poses(fox / "transforms.json"))
    for name, value in against.items():
        print(f"{name:24s} {value:8.3f}")
    kept = ("photos", "placed", "mean_reprojection_error_px", "points", "seconds", "settings")
    figures = {name: report[name] for name in kept}
    figures |= {"load_average_before": load, "against_known_poses": against}
    write_record(Path(__file__), figures, {"pycolmap": metadata.version("pycolmap")})


if __name__ == "__main__":
    main()
