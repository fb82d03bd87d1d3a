"""A trained scene, taken out of the program: its surface, points on it, and its cameras.

All files are in the frame and scale of the scene's own files, whatever their loader did to it.
"""

import functools
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerf_jax.app.mesh.build import Tell, find_surface
from nerf_jax.app.mesh.cameras import write_cameras
from nerf_jax.app.mesh.files import write_mesh, write_points
from nerf_jax.app.mesh.readme import LIMITS, write_statement
from nerf_jax.app.mesh.region import Region, learned_region, nothing_in, seen_region
from nerf_jax.app.mesh.views import Views, look, points
from nerf_jax.app.trained import Trained
from nerf_jax.config import ExportConfig
from nerf_jax.data.files import optional_import
from nerf_jax.data.normalize import move_points

__all__ = ["LIMITS", "Tell", "export_scene"]

_FINEST = 2.0
"""The size of views in that of the photos, at most: more is not in the scene."""


def export_scene(scene: Trained, wanted: ExportConfig, folder: Path, *, tell: Tell) -> list[Path]:
    """Write what is wanted of a scene.

    Args:
        scene: one that was trained.
        wanted: which parts, and how.
        folder: for ``mesh.ply`` (or ``.obj``, ``.glb``), ``points.ply``, ``transforms.json``, and
            ``README.md``, which says what they are.
        tell: called as work goes on.

    Returns:
        The files written.

    Raises:
        ImportError: a package is missing; the message is the line that installs it.
        OSError: the folder cannot be written to.
        ValueError: there is nothing in the box, or cameras are needed and not known.
    """
    _check(scene, wanted, folder)
    facts: dict[str, str] = {}
    written = []
    world_from_original = scene.all_cameras.world_from_original
    to_original = functools.partial(move_points, np.linalg.inv(world_from_original))
    if {"mesh", "points"} & set(wanted.parts):
        region, views = _survey(scene, wanted, tell)
        scale = np.cbrt(np.linalg.det(world_from_original[:3, :3]))
        facts["box"] = (
            f"{region} in the scene's world: z up, {scale:.4g} of its units to the files'"
        )
    if "mesh" in wanted.parts:
        mesh, colors, found = find_surface(scene, wanted, region, views, tell)
        facts |= found
        path = folder / f"mesh.{wanted.format}"
        mesh = mesh._replace(vertices=to_original(mesh.vertices))
        write_mesh(path, mesh, colors, world_from_original)
        written.append(path)
    if "points" in wanted.parts and views is not None:
        places, colors = _points_within(region, views, wanted.max_points)
        path = folder / "points.ply"
        write_points(path, to_original(places), colors)
        facts["points"] = f"{len(places):,}, where rays of the training cameras end"
        written.append(path)
    if "cameras" in wanted.parts:
        cloud = "points.ply" if "points" in wanted.parts else None
        write_cameras(folder / "transforms.json", scene.all_cameras, scene.cameras(), cloud)
        written.append(folder / "transforms.json")
    return [*written, write_statement(folder / "README.md", scene, facts)]


def _check(scene: Trained, wanted: ExportConfig, folder: Path) -> None:
    """All that can be known to go wrong before minutes of work."""
    if {"mesh", "points"} & set(wanted.parts):
        optional_import("trimesh", "nerf_jax[export]")
    if "mesh" in wanted.parts:
        optional_import("skimage.measure", "nerf_jax[export]")
        if wanted.faces:
            optional_import("fast_simplification", "nerf_jax[export]")
    needs_cameras = set(wanted.parts) != {"mesh"} or wanted.surface == "fusion"
    if needs_cameras and "train" not in scene.all_cameras.splits:
        raise ValueError(
            f"{scene.run.folder}: trained on a ray dataset, which says nothing of cameras: all "
            "that can be exported is --parts mesh --surface density"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"{folder}: cannot be written to ({error.strerror}): name another folder by --output"
        ) from error


def _survey(scene: Trained, wanted: ExportConfig, tell: Tell) -> tuple[Region, Views | None]:
    """The box to export; and views of the scene, where cameras are known."""
    crop = Region(*np.array(wanted.crop, float).reshape(2, 3)) if wanted.crop else None
    if "train" not in scene.all_cameras.splits:
        return crop or learned_region(scene), None
    # As many pixels as voxels: what fills an image is about the size of the box. A part of it
    # deserves all that the photos show.
    scale = max(wanted.resolution / max(scene.size_hw), 1.0 if crop else 0.0)
    told = functools.partial(tell, "looking")
    views = look(scene, min(scale, _FINEST), wanted.max_views, told)
    if crop is not None and not crop.holds(points(views)[0]).any():
        raise nothing_in(scene, crop, views)
    return crop or seen_region(scene, views), views


def _points_within(
    region: Region, views: Views, count: int
) -> tuple[Float[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Points and their colours, so many at most, evenly chosen."""
    places, colors = points(views)
    inside = np.flatnonzero(region.holds(places))
    chosen = np.random.default_rng(0).permutation(inside)[:count]
    return places[chosen], colors[chosen]
