"""Builds the surface of a scene: extracted, cleaned and coloured, in world units."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float

from nerf_jax.app.mesh.colors import vertex_colors, viewing_directions
from nerf_jax.app.mesh.components import largest_components, simplify
from nerf_jax.app.mesh.density import default_level, level_field
from nerf_jax.app.mesh.fusion import fused_field
from nerf_jax.app.mesh.marching_cubes import Mesh, ScalarField, close_holes, grid_over, isosurface
from nerf_jax.app.mesh.region import Region, no_surface_error
from nerf_jax.app.mesh.views import Views, pixel_width
from nerf_jax.app.trained import Trained
from nerf_jax.compositing import solid
from nerf_jax.config import ExportConfig
from nerf_jax.data.files import optional_import

OnProgress = Callable[[str, int, int], None]
"""Called with the name of a step, how much of it is done, and its total."""


def build_surface(
    scene: Trained,
    wanted: ExportConfig,
    region: Region,
    views: Views | None,
    on_progress: OnProgress,
) -> tuple[Mesh, Float[np.ndarray, "V 3"], dict[str, str]]:
    """The surface of a scene within a region.

    Returns:
        A mesh in world units, its vertex colours (sRGB in [0, 1]), and its description.

    Raises:
        ValueError: there is no surface in the region.
    """
    density, render = (
        functools.partial(jax.jit(function), scene.state.params, scene.state.aux)
        for function in (scene.model.density, scene.model.render)
    )
    grid = grid_over(*region, wanted.resolution)
    field, description = _scalar_field(scene, wanted, grid.voxel, views, density)
    holes = wanted.holes
    if holes == "auto":
        holes = "closed" if scene.config.model.bounded else "open"
    if holes == "closed":
        field, grid = close_holes(field, grid)
    mesh = isosurface(field, grid, functools.partial(on_progress, "surface"))
    if not len(mesh.faces):
        raise no_surface_error(scene, region, views)
    mesh = largest_components(mesh, wanted.components) if wanted.components else mesh
    mesh = simplify(mesh, wanted.faces) if wanted.faces else mesh
    body = optional_import("trimesh", "nerf_jax[export]").Trimesh(*mesh, process=False)
    toward = np.array(body.vertex_normals)
    if views is not None:
        tolerance = 2 * max(grid.voxel, pixel_width(views, scene.size_hw[0]))
        toward = viewing_directions(mesh, toward, views, tolerance)
    background = np.asarray(solid(scene.config.data.background))
    told = functools.partial(on_progress, "colours")
    colors = vertex_colors(mesh, toward, render, background, grid.voxel, told)
    facts = {
        "surface": description,
        "size": f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} triangles",
        "holes": f"{holes}; {'watertight' if body.is_watertight else 'not watertight'}",
    }
    return mesh, colors, facts


def _scalar_field(
    scene: Trained, wanted: ExportConfig, voxel: float, views: Views | None, density: Callable
) -> tuple[ScalarField, str]:
    """The field whose zero level is the surface, and its description."""
    if views is None:  # the photos' pixels are unknown: the grid resolves two voxels at best
        level = wanted.level or default_level(2 * voxel)
        return level_field(density, level, voxel), f"density {level:.3g} per world unit"
    pixel = pixel_width(views, scene.size_hw[0])
    if wanted.surface == "fusion" or (wanted.surface == "auto" and not scene.config.model.bounded):
        truncation = 4 * max(voxel, pixel)
        how = f"depths of {len(views.depth)} views, fused within {truncation:.3g} world units"
        return fused_field(views, truncation), how
    level = wanted.level or default_level(pixel)
    dense, fused = level_field(density, level, voxel), fused_field(views, max(2 * voxel, pixel))

    def field(positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        # The density is arbitrary where no camera sees: the interior of a solid may be hollow.
        return np.where(np.isnan(fused(positions)), np.nan, dense(positions))

    return field, f"density {level:.3g} per world unit, where {len(views.depth)} views see"
