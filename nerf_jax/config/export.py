"""What is taken out of a scene."""

import math
from dataclasses import dataclass
from typing import Literal

from nerf_jax.config.checks import require, require_positive


@dataclass(frozen=True)
class ExportConfig:
    """What is taken out of a scene, and how."""

    parts: tuple[Literal["mesh", "points", "cameras"], ...] = ("mesh", "points", "cameras")
    """The surface; coloured points on what the training cameras see; those cameras."""
    surface: Literal["auto", "density", "fusion"] = "auto"
    """Where the surface is: at a level of the `density`, or where the depths meet that the training
    cameras see (`fusion`). `auto`: the density of a scene in a box, the depths of a capture."""
    format: Literal["ply", "obj", "glb"] = "ply"
    """Of the mesh. All have colours; `glb` is the one that stands upright in every viewer."""
    resolution: int = 256
    """Voxels along the longest side of the crop box."""
    crop: tuple[float, float, float, float, float, float] | None = None
    """The box that is exported: its least x, y and z, then its largest, in the scene's world (z up;
    a capture's cameras reach to 1). Without it, what the training cameras see."""
    holes: Literal["auto", "closed", "open"] = "auto"
    """Where no camera looked, and at the box's sides: `closed`, as one solid, or `open`. `auto`:
    closed for a scene in a box, open for a capture."""
    components: int = 1
    """Only so many connected pieces are kept, the largest; 0: all."""
    faces: int = 0
    """The mesh is simplified to so many triangles; 0: as it comes."""
    level: float | None = None
    """The density at the surface, per world unit. Without it, what stops a quarter of the light
    across a photo's pixel."""
    max_points: int = 500_000
    """Of the point cloud."""
    max_views: int = 100
    """Training cameras that look, evenly chosen where there are more: what bounds the time."""

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
            proper = all(map(math.isfinite, self.crop)) and ordered
            expected = "six finite numbers, the least x, y, z and then larger ones"
            require(proper, "export.crop", self.crop, expected)
