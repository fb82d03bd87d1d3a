"""Which scene, and how it is read."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nerf_jax.config.checks import require


@dataclass(frozen=True)
class DataConfig:
    """Which scene, and how it is read."""

    scene: str = "bricks"
    """The built-in `bricks`, or the folder to look for (`lego` is downloaded if absent)."""
    root: Path | None = None
    """The scene's folder, a folder that holds it, or a ray dataset (.npz, .npy).
    Without it, $NERF_JAX_DATA and ./data are searched."""
    format: Literal["auto", "bricks", "blender", "rays", "llff", "colmap", "transforms"] = "auto"
    """How the files are written; `auto` recognises it."""
    downscale: int = 1
    """Images are shrunk by this factor, averaging areas."""
    max_side: int | None = None
    """The longest side that an image of a capture may have, in pixels: larger ones are shrunk by
    the least whole factor that does."""
    hold_out: int = 8
    """Each so manieth photo of a capture, the first among them, is kept for validation and not
    learned from; 0 for none. Captures that name their splits ignore it."""
    normalize: Literal["cameras", "none"] = "cameras"
    """How a capture is placed: `cameras` turns it so that they stand upright, z up, and scales it
    so that they fit into the cube of [-1, 1]; `none` leaves it as it is in its files."""
    image_size: tuple[int, int] | None = None
    """Height and width of the images of a ray dataset, where its file does not say."""
    near: float | None = None
    """Where rays start, in world units from the camera. Without it, what the dataset says, or
    else what its format suits."""
    far: float | None = None
    """Where rays end; the same."""
    background: Literal["white", "black", "random"] = "white"
    """Behind transparent pixels. `random`: a colour for every training ray, white in views."""

    def __post_init__(self) -> None:
        require(self.downscale >= 1, "data.downscale", self.downscale, "at least 1")
        for name in ("near", "far"):
            value = getattr(self, name)
            proper = value is None or (value >= 0 and math.isfinite(value))
            require(proper, f"data.{name}", value, "finite and at least 0")
        if self.near is not None and self.far is not None:
            require(self.near < self.far, "data.near", self.near, f"below data.far={self.far}")
        require(self.hold_out >= 0, "data.hold_out", self.hold_out, "at least 0")
        require(self.hold_out != 1, "data.hold_out", 1, "0 or at least 2: 1 leaves none to learn")
        if self.max_side is not None:
            require(self.max_side >= 1, "data.max_side", self.max_side, "at least 1")
        if self.image_size is not None:
            require(min(self.image_size) >= 1, "data.image_size", self.image_size, "positive")

    def bounds(self, near: float, far: float) -> tuple[float, float]:
        """``data.near`` and ``data.far``; those given where the config says nothing.

        Raises:
            ValueError: the rays would end before they start.
        """
        near = near if self.near is None else self.near
        far = far if self.far is None else self.far
        require(near < far, "data.near", near, f"below data.far={far}")
        return near, far
