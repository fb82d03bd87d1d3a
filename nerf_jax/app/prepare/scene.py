"""Writes a reconstruction: ``transforms.json``, the sparse points, and a plot of both.

The frame is COLMAP's; the cameras' axes are x right, y up, looking along -z.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from nerf_jax.app.ply import write_ply
from nerf_jax.data.files import atomic_write, optional_import, write_json
from nerf_jax.data.photo_files import natural
from nerf_jax.data.write_transforms import Fields, frame_fields, pinhole_fields, write_transforms

POINTS = "sparse_points.ply"
MODEL = "colmap/sparse/0"
"""The path at which other tools expect COLMAP's model."""


def write(out: Path, model: Any, title: str, report: dict[str, Any]) -> None:
    """Write a scene's files, ``transforms.json`` last: it marks the folder as complete.

    ``model`` is a ``pycolmap.Reconstruction``, ``report`` the content of ``prepare.json``.
    """
    sparse = list(model.points3D.values())
    points = np.array([point.xyz for point in sparse], np.float64).reshape(-1, 3)
    colors = np.array([point.color for point in sparse], np.uint8).reshape(-1, 3)
    write_ply(out / POINTS, points, colors)
    images = placed_images(model)
    poses = np.stack([world_from_camera(image) for image in images])
    names = [image.name for image in images]
    plot_cameras(out / "cameras.png", poses, names, points, colors, title)
    (out / MODEL).mkdir(parents=True, exist_ok=True)
    model.write(out / MODEL)
    write_json(out / "prepare.json", report)
    cameras = [_intrinsics(model.cameras[image.camera_id]) for image in images]
    shared = cameras[0] if len({image.camera_id for image in images}) == 1 else {}
    frames = [
        frame_fields(f"images/{name}", pose, {} if shared else camera)
        for name, pose, camera in zip(names, poses, cameras, strict=True)
    ]
    sources = {"ply_file_path": POINTS, "colmap_path": MODEL}
    fields = {"camera_model": "OPENCV", **shared, **sources}
    write_transforms(out / "transforms.json", fields, frames)


def placed_images(model: Any) -> list[Any]:
    """The images with a pose, in natural order of their names."""
    images = [model.images[image_id] for image_id in model.reg_image_ids()]
    return sorted(images, key=lambda image: natural(image.name))


def world_from_camera(image: Any) -> Float[np.ndarray, "3 4"]:
    """The pose of a COLMAP image, whose camera looks along +z with y down."""
    camera_from_world = image.cam_from_world().matrix()
    rotation = camera_from_world[:, :3].T
    origin = -rotation @ camera_from_world[:, 3]
    return np.column_stack([rotation * [1, -1, -1], origin])


def _intrinsics(camera: Any) -> Fields:
    """The fields of a COLMAP camera, whose model is OPENCV."""
    fx, fy, cx, cy, *distortion = map(float, camera.params)
    pinhole = pinhole_fields((camera.height, camera.width), (fx, fy), (cx, cy))
    return {**pinhole, **dict(zip(("k1", "k2", "p1", "p2"), distortion, strict=True))}


def plot_cameras(
    path: Path,
    poses: Float[np.ndarray, "N 3 4"],
    names: list[str],
    points: Float[np.ndarray, "P 3"],
    colors: UInt8[np.ndarray, "P 3"],
    title: str,
) -> None:
    """Plot cameras and points from above and from the side, upright by the mean of the cameras."""
    optional_import("matplotlib", "matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rotation = _upright(poses)
    centre = poses[:, :, 3].mean(axis=0)
    spread = max(np.linalg.norm(poses[:, :, 3] - centre, axis=1).max(), 1e-9)
    cameras = (poses[:, :, 3] - centre) @ rotation.T / spread
    forward = -poses[:, :, 2] @ rotation.T
    cloud = (points - centre) @ rotation.T / spread
    near = np.abs(cloud).max(axis=1, initial=0) < 3  # outliers would shrink the rest
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    views = zip(figure.subplots(1, 2), ([0, 1], [1, 2]), ("above", "the side"), strict=True)
    for axes, dims, view in views:
        axes.scatter(*cloud[near][:, dims].T, s=1.5, c=colors[near] / 255, linewidths=0)
        origins, directions = cameras[:, dims], forward[:, dims]
        axes.quiver(*origins.T, *directions.T, color="crimson", width=0.003, scale=14, zorder=3)
        axes.plot(*origins.T, "o", color="crimson", markersize=4, zorder=3)
        for index in range(0, len(names), max(1, len(names) // 12)):
            axes.annotate(Path(names[index]).stem, origins[index], fontsize=7, zorder=4)
        axes.set_title(f"from {view}")
        axes.set_xlabel("1: distance from the cameras' centre to the farthest camera")
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=110)


def _upright(poses: Float[np.ndarray, "N 3 4"]) -> Float[np.ndarray, "3 3"]:
    """The rotation that turns the cameras' mean up to z, and their widest spread to x."""
    up = poses[:, :, 1].mean(axis=0)
    up = up / max(np.linalg.norm(up), 1e-9)
    offsets = poses[:, :, 3] - poses[:, :, 3].mean(axis=0)
    level = offsets - np.outer(offsets @ up, up)
    right = np.linalg.svd(level)[2][0]
    return np.stack([right, np.cross(up, right), up])
