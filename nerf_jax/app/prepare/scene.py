"""What is written of placed photos: ``transforms.json``, the sparse points, and a picture of both.

The frame is COLMAP's own, the cameras' axes are x right, y up, looking along -z.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from nerf_jax.data.files import atomic_write, optional_import

POINTS = "sparse_points.ply"
MODEL = "colmap/sparse/0"
"""Where tools that read COLMAP's models look."""

_OPENCV = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")
"""nerfstudio's names of the parameters of COLMAP's OPENCV camera, in its order."""


def write(out: Path, reconstruction: Any, title: str, report: dict[str, Any]) -> None:
    """Write a scene's files, ``transforms.json`` last: a folder that has it is whole.

    Args:
        out: the scene's folder.
        reconstruction: COLMAP's.
        title: of the picture.
        report: what ``prepare.json`` is to hold.
    """
    places, colors = points(reconstruction)
    write_ply(out / POINTS, places, colors)
    images = placed_images(reconstruction)
    poses = np.stack([world_from_camera(image) for image in images])
    draw(out / "cameras.png", poses, [image.name for image in images], places, colors, title)
    (out / MODEL).mkdir(parents=True, exist_ok=True)
    reconstruction.write(out / MODEL)
    write_json(out / "prepare.json", report)
    write_json(out / "transforms.json", transforms(reconstruction))


def placed_images(reconstruction: Any) -> list[Any]:
    """The images with a pose, by name."""
    images = [reconstruction.images[number] for number in reconstruction.reg_image_ids()]
    return sorted(images, key=lambda image: image.name)


def world_from_camera(image: Any) -> Float[np.ndarray, "3 4"]:
    """The pose of an image of COLMAP's, whose camera looks along +z with y down."""
    camera_from_world = image.cam_from_world().matrix()
    rotation = camera_from_world[:, :3].T
    origin = -rotation @ camera_from_world[:, 3]
    return np.column_stack([rotation * [1, -1, -1], origin])


def transforms(reconstruction: Any) -> dict[str, Any]:
    """The cameras in nerfstudio's fields; intrinsics stand with the frames where they differ."""
    images = placed_images(reconstruction)
    cameras = {image.camera_id for image in images}
    shared = _intrinsics(reconstruction.cameras[cameras.pop()]) if len(cameras) == 1 else {}
    frames = [
        {
            "file_path": f"images/{image.name}",
            **({} if shared else _intrinsics(reconstruction.cameras[image.camera_id])),
            "transform_matrix": [*world_from_camera(image).tolist(), [0.0, 0.0, 0.0, 1.0]],
        }
        for image in images
    ]
    sparse = {"ply_file_path": POINTS, "colmap_path": MODEL}
    return {"camera_model": "OPENCV", **shared, **sparse, "frames": frames}


def _intrinsics(camera: Any) -> dict[str, float]:
    params = dict(zip(_OPENCV, map(float, camera.params), strict=True))
    return {"w": camera.width, "h": camera.height, **params}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n")


def points(
    reconstruction: Any,
) -> tuple[Float[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """The sparse points and their colours."""
    found = list(reconstruction.points3D.values())
    places = np.array([point.xyz for point in found], np.float64).reshape(-1, 3)
    return places, np.array([point.color for point in found], np.uint8).reshape(-1, 3)


def write_ply(
    path: Path, places: Float[np.ndarray, "P 3"], colors: UInt8[np.ndarray, "P 3"]
) -> None:
    """Write coloured points as binary PLY."""
    fields = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(places), fields)
    for axis, name in enumerate("xyz"):
        rows[name] = places[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        rows[name] = colors[:, channel]
    properties = [
        f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields
    ]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}", *properties]
    with atomic_write(path) as aside:
        aside.write_bytes("\n".join([*header, "end_header\n"]).encode() + rows.tobytes())


def draw(
    path: Path,
    poses: Float[np.ndarray, "N 3 4"],
    names: list[str],
    places: Float[np.ndarray, "P 3"],
    colors: UInt8[np.ndarray, "P 3"],
    title: str,
) -> None:
    """A picture of the cameras and the points, upright by the cameras' mean.

    Seen from above, and along the line on which the cameras are spread the most.
    """
    optional_import("matplotlib", "matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    upright = _upright(poses)
    centre = poses[:, :, 3].mean(axis=0)
    spread = max(np.linalg.norm(poses[:, :, 3] - centre, axis=1).max(), 1e-9)
    cameras = (poses[:, :, 3] - centre) @ upright.T / spread
    ahead = -poses[:, :, 2] @ upright.T
    cloud = (places - centre) @ upright.T / spread
    near = np.abs(cloud).max(axis=1, initial=0) < 3  # a few points are always far away
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    views = zip(figure.subplots(1, 2), ([0, 1], [1, 2]), ("above", "the side"), strict=True)
    for axes, dims, view in views:
        axes.scatter(*cloud[near][:, dims].T, s=1.5, c=colors[near] / 255, linewidths=0)
        _draw_cameras(axes, cameras[:, dims], ahead[:, dims], names)
        axes.set_title(f"from {view}")
        axes.set_xlabel("1: from the cameras' middle to the farthest of them")
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=110)


def _draw_cameras(
    axes: Any,
    places: Float[np.ndarray, "N 2"],
    ahead: Float[np.ndarray, "N 2"],
    names: list[str],
) -> None:
    """Where cameras are and look, and what some of them are called."""
    axes.quiver(*places.T, *ahead.T, color="crimson", width=0.003, scale=14, zorder=3)
    axes.plot(*places.T, "o", color="crimson", markersize=4, zorder=3)
    for number in range(0, len(names), max(1, len(names) // 12)):
        axes.annotate(Path(names[number]).stem, places[number], fontsize=7, zorder=4)


def _upright(poses: Float[np.ndarray, "N 3 4"]) -> Float[np.ndarray, "3 3"]:
    """The rotation that makes the cameras' mean up z, and their widest spread x."""
    up = poses[:, :, 1].mean(axis=0)
    up = up / max(np.linalg.norm(up), 1e-9)
    across = poses[:, :, 3] - poses[:, :, 3].mean(axis=0)
    across = across - np.outer(across @ up, up)
    right = np.linalg.svd(across)[2][0]
    return np.stack([right, np.cross(up, right), up])
