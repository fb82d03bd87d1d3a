"""Exports a trained scene: its surface, points on it, and its cameras.

All files are in the frame and scale of the scene's own files.
"""

import functools
from pathlib import Path

import numpy as np

from nerf_jax.app.mesh.build import OnProgress, build_surface
from nerf_jax.app.mesh.cameras import write_cameras
from nerf_jax.app.mesh.files import write_mesh, write_points
from nerf_jax.app.mesh.readme import LIMITATIONS, write_readme
from nerf_jax.app.mesh.region import Region, method_region, no_surface_error, visible_region
from nerf_jax.app.mesh.views import Views, render_views, surface_points
from nerf_jax.app.trained import Trained
from nerf_jax.config import ExportConfig
from nerf_jax.data.files import optional_import, require_writable
from nerf_jax.data.normalize import move_points

__all__ = ["LIMITATIONS", "OnProgress", "export_scene"]

_MAX_SCALE = 2.0
"""Maximum size of the views relative to the photos, which have no finer detail."""


def export_scene(
    scene: Trained, wanted: ExportConfig, folder: Path, *, on_progress: OnProgress
) -> list[Path]:
    """Write the wanted parts of a scene.

    Args:
        scene: a trained scene.
        wanted: which parts, and how.
        folder: for ``mesh.ply`` (or ``.obj``, ``.glb``), ``points.ply``, ``transforms.json``, and
            a ``README.md`` that describes them.
        on_progress: called after each part of the work.

    Returns:
        The files written.

    Raises:
        ImportError: a package is missing; the message is the line that installs it.
        OSError: the folder cannot be written to.
        ValueError: the box holds no surface, or cameras are needed but unknown.
    """
    _check(scene, wanted, folder)
    facts: dict[str, str] = {}
    written = []
    world_from_original = scene.all_cameras.world_from_original
    to_original = functools.partial(move_points, np.linalg.inv(world_from_original))
    if {"mesh", "points"} & set(wanted.parts):
        region, views = _region_and_views(scene, wanted, on_progress)
        scale = np.cbrt(np.linalg.det(world_from_original[:3, :3]))
        facts["box"] = f"{region} in the scene's world (z up; {scale:.4g} units per unit of files)"
    if "mesh" in wanted.parts:
        mesh, colors, found = build_surface(scene, wanted, region, views, on_progress)
        facts |= found
        mesh = mesh._replace(vertices=to_original(mesh.vertices))
        written.append(folder / f"mesh.{wanted.format}")
        write_mesh(written[-1], mesh, colors, world_from_original)
    if "points" in wanted.parts and views is not None:
        points, rgb = surface_points(views)
        inside = np.flatnonzero(region.contains(points))
        chosen = np.random.default_rng(0).permutation(inside)[: wanted.max_points]
        written.append(folder / "points.ply")
        write_points(written[-1], to_original(points[chosen]), rgb[chosen])
        facts["points"] = f"{len(chosen):,}, where rays of the training cameras hit a surface"
    if "cameras" in wanted.parts:
        cloud = "points.ply" if "points" in wanted.parts else None
        written.append(folder / "transforms.json")
        write_cameras(written[-1], scene.all_cameras, scene.cameras(), cloud)
    return [*written, write_readme(folder / "README.md", scene, facts)]


def _check(scene: Trained, wanted: ExportConfig, folder: Path) -> None:
    """Raise the errors that are predictable before minutes of work."""
    if {"mesh", "points"} & set(wanted.parts):
        optional_import("trimesh", "nerf_jax[export]")
    if "mesh" in wanted.parts:
        optional_import("skimage.measure", "nerf_jax[export]")
        if wanted.faces:
            optional_import("fast_simplification", "nerf_jax[export]")
    needs_cameras = set(wanted.parts) != {"mesh"} or wanted.surface == "fusion"
    if needs_cameras and "train" not in scene.all_cameras.splits:
        raise ValueError(
            f"{scene.run.folder}: trained on a ray dataset, so its cameras are unknown: only "
            "--parts mesh --surface density can be exported"
        )
    require_writable(folder)


def _region_and_views(
    scene: Trained, wanted: ExportConfig, on_progress: OnProgress
) -> tuple[Region, Views | None]:
    """The box to export, and views of the scene if its cameras are known."""
    crop = Region(*np.array(wanted.crop, float).reshape(2, 3)) if wanted.crop else None
    if "train" not in scene.all_cameras.splits:
        return crop or method_region(scene), None
    # One pixel per voxel, as an image shows about the whole box; of a crop, all the photos' detail.
    scale = max(wanted.resolution / max(scene.size_hw), 1.0 if crop else 0.0)
    on_view = functools.partial(on_progress, "views")
    views = render_views(scene, min(scale, _MAX_SCALE), wanted.max_views, on_view)
    if crop is not None and not crop.contains(surface_points(views)[0]).any():
        raise no_surface_error(scene, crop, views)
    return crop or visible_region(scene, views), views
