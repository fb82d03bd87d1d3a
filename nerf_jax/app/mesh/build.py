"""The surface of a scene: found, cleaned and coloured, in the scene's world."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from nerf_jax import methods
from nerf_jax.app.mesh.colors import best_seen_from, seen_from
from nerf_jax.app.mesh.components import largest, simplified
from nerf_jax.app.mesh.density import default_level, level_value
from nerf_jax.app.mesh.fusion import fused_value
from nerf_jax.app.mesh.marching_cubes import Mesh, Value, closed, grid_over, march
from nerf_jax.app.mesh.region import Region, nothing_in
from nerf_jax.app.mesh.views import Views, pixel_width
from nerf_jax.app.trained import Trained
from nerf_jax.compositing import solid
from nerf_jax.config import ExportConfig
from nerf_jax.data.files import optional_import

Tell = Callable[[str, int, int], None]
"""Called with a stage of the work, how much of it is done, and how much there is."""


class Surface(NamedTuple):
    """A mesh, and what there is to say of it."""

    mesh: Mesh
    colors: Float[np.ndarray, "V 3"]
    """sRGB in [0, 1]."""
    facts: dict[str, str]


def find_surface(
    scene: Trained, wanted: ExportConfig, region: Region, views: Views | None, tell: Tell
) -> Surface:
    """The surface of a scene within a region.

    Args:
        scene: one that was trained.
        wanted: how it is found, and what is made of it.
        region: where.
        views: what the training cameras see, where they are known.
        tell: as work goes on.

    Raises:
        ValueError: there is none.
    """
    method = methods.build(scene.config)
    density, render = (
        functools.partial(jax.jit(part), scene.state.params, scene.state.aux)
        for part in (method.density, method.render)
    )
    grid = grid_over(*region, wanted.resolution)
    value, how = _value(scene, wanted, grid.voxel, views, density)
    holes = wanted.holes
    if holes == "auto":
        holes = "closed" if scene.config.model.bounded else "open"
    if holes == "closed":
        value, grid = closed(value, grid)
    mesh = march(value, grid, functools.partial(tell, "surface"))
    if not len(mesh.faces):
        raise nothing_in(scene, region, views)
    mesh = largest(mesh, wanted.components) if wanted.components else mesh
    mesh = simplified(mesh, wanted.faces) if wanted.faces else mesh
    body = optional_import("trimesh", "nerf_jax[export]").Trimesh(*mesh, process=False)
    toward = np.array(body.vertex_normals)
    if views is not None:
        off = 2 * max(grid.voxel, pixel_width(views, scene.size_hw[0]))
        toward = best_seen_from(mesh, toward, views, off)
    behind = np.asarray(solid(scene.config.data.background))
    told = functools.partial(tell, "colours")
    colors = seen_from(toward, render, behind, mesh, grid.voxel, told)
    facts = {
        "surface": how,
        "size": f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} triangles",
        "holes": f"{holes}; {'watertight' if body.is_watertight else 'not watertight'}",
    }
    return Surface(mesh, colors, facts)


def _value(
    scene: Trained,
    wanted: ExportConfig,
    voxel: float,
    views: Views | None,
    density: Callable,
) -> tuple[Value, str]:
    """What is inside and what is not, and that in words."""
    if views is None:  # nothing is known of pixels: two voxels are the least that can be told
        level = wanted.level or default_level(2 * voxel)
        return level_value(density, level, voxel), f"density {level:.3g} per world unit"
    pixel = pixel_width(views, scene.size_hw[0])
    if wanted.surface == "fusion" or (wanted.surface == "auto" and not scene.config.model.bounded):
        truncation = 4 * max(voxel, pixel)
        how = f"depths of {len(views.depth)} views, fused within {truncation:.3g} world units"
        return fused_value(views, truncation), how
    level = wanted.level or default_level(pixel)
    dense, seen = level_value(density, level, voxel), fused_value(views, max(2 * voxel, pixel))

    def value(places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        # No light has told a density what to be where no camera sees: what is deep within a body
        # may be hollow, and what is behind it, anything.
        return np.where(np.isnan(seen(places)), np.nan, dense(places))

    return value, f"density {level:.3g} per world unit, where {len(views.depth)} views see"
