"""The config of ``run.py export``."""

import math
import operator
from dataclasses import dataclass
from typing import Annotated, Literal

from nerf_jax.config.checks import POSITIVE, Constraint, Section, at_least

Part = Literal["mesh", "points", "cameras"]
Box = tuple[float, float, float, float, float, float]

_SOME_PART = Constraint("mesh, points or cameras", lambda parts: len(parts) > 0)
_TRIANGLES = Constraint("0 or at least 4", lambda faces: faces == 0 or faces >= 4)
_ORDERED = Constraint(
    "six finite numbers, the least x, y, z and then larger ones",
    lambda box: all(map(math.isfinite, box)) and all(map(operator.lt, box[:3], box[3:])),
)


@dataclass(frozen=True)
class ExportConfig(Section):
    """The parts of a scene to export, and how."""

    prefix = "export"

    parts: Annotated[tuple[Part, ...], _SOME_PART] = ("mesh", "points", "cameras")
    """The surface as a mesh; coloured points on it as seen by the training cameras; the cameras."""
    surface: Literal["auto", "density", "fusion"] = "auto"
    """`density`: a level set of the density. `fusion`: fused depths of the training cameras.
    `auto`: density for a bounded scene, fusion for an unbounded one."""
    format: Literal["ply", "obj", "glb", "html"] = "ply"
    """File format of the mesh, with vertex colours. Only `glb` stores which way is up. `html`: no
    parts, but the scene itself as one web page, `scene.html`, to fly through in any browser."""
    quantize: Literal[8, 16] = 16
    """Bits of a feature in `html`: half floats, or half the size at a lower quality."""
    resolution: Annotated[int, at_least(8)] = 256
    """Voxels along the longest side of the box."""
    crop: Annotated[Box | None, _ORDERED] = None
    """The box to export: minimum x, y, z, then maximum, in the scene's world (z up; cameras of a
    capture within -1 and 1). [default: the box that the training cameras see]"""
    holes: Literal["auto", "closed", "open"] = "auto"
    """Surfaces that no camera saw, and the box's sides: `closed` gives a solid. `auto`: closed for
    a bounded scene, open for an unbounded one."""
    components: Annotated[int, at_least(0)] = 1
    """Number of connected components to keep, the largest first; 0: all."""
    faces: Annotated[int, _TRIANGLES] = 0
    """Maximum number of triangles, by simplification; 0: no simplification."""
    level: Annotated[float | None, POSITIVE] = None
    """Density at the surface, per world unit. [default: an opacity of a quarter across a photo's
    pixel]"""
    max_points: Annotated[int, POSITIVE] = 500_000
    """Maximum size of the point cloud."""
    max_views: Annotated[int, POSITIVE] = 100
    """Maximum number of training cameras to render from, evenly chosen; it bounds the time."""
