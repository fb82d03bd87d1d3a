"""What ``run.py export`` writes of a scene."""

import math
from dataclasses import dataclass
from typing import Literal

from nerf_jax.config.checks import require, require_positive


@dataclass(frozen=True)
class ExportConfig:
    """The parts of a scene to export, and how."""

    parts: tuple[Literal["mesh", "points", "cameras"], ...] = ("mesh", "points", "cameras")
    """The surface as a mesh; coloured points on it as seen by the training cameras; the cameras."""
    surface: Literal["auto", "density", "fusion"] = "auto"
    """`density`: a level set of the density. `fusion`: fused depths of the training cameras.
    `auto`: density for a bounded scene, fusion for an unbounded one."""
    format: Literal["ply", "obj", "glb"] = "ply"
    """File format of the mesh, with vertex colours. Only `glb` stores which way is up."""
    resolution: int = 256
    """Voxels along the longest side of the box."""
    crop: tuple[float, float, float, float, float, float] | None = None
    """The box to export: minimum x, y, z, then maximum, in the scene's world (z up; cameras of a
    capture within -1 and 1). Without it, the box that the training cameras see."""
    holes: Literal["auto", "closed", "open"] = "auto"
    """Surfaces that no camera saw, and the box's sides: `closed` gives a solid. `auto`: closed for
    a bounded scene, open for an unbounded one."""
    components: int = 1
    """Number of connected components to keep, the largest first; 0: all."""
    faces: int = 0
    """Maximum number of triangles, by simplification; 0: no simplification."""
    level: float | None = None
    """Density at the surface, per world unit. Without it, the density with an opacity of a quarter
    across one pixel of the photos."""
    max_points: int = 500_000
    """Maximum size of the point cloud."""
    max_views: int = 100
    """Maximum number of training cameras to render from, evenly chosen; it bounds the time."""

    def __post_init__(self) -> None:
        require(len(self.parts) > 0, "export.parts", self.parts, "mesh, points or cameras")
        require(self.resolution >= 8, "export.resolution", self.resolution, "at least 8")
        require(self.components >= 0, "export.components", self.components, "at least 0")
        few = self.faces == 0 or self.faces >= 4
        require(few, "export.faces", self.faces, "0 or at least 4")
        require_positive(self, "export", "max_points", "max_views")
        if self.level is not None:
            require_positive(self, "export", "level")
        if self.crop is not None:
            low, high = self.crop[:3], self.crop[3:]
            ordered = all(a < b for a, b in zip(low, high, strict=True))
            expected = "six finite numbers, the least x, y, z and then larger ones"
            finite = all(map(math.isfinite, self.crop))
            require(finite and ordered, "export.crop", self.crop, expected)
