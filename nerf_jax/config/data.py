"""The scene, and how its files are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from nerf_jax.config.checks import (
    BYTES,
    NON_NEGATIVE,
    Constraint,
    Section,
    at_least,
    num_bytes,
    require,
)

_SPLITS_OFF_SOME = Constraint("0 or at least 2: 1 leaves no photo to train on", lambda k: k != 1)
_POSITIVE_SIDES = Constraint("positive", lambda size: min(size) >= 1)


@dataclass(frozen=True)
class DataConfig(Section):
    """The scene, and how its files are read."""

    prefix = "data"

    scene: str = "bricks"
    """The built-in `bricks`, or the name of a scene's folder (`lego` is downloaded if absent)."""
    root: Path | None = None
    """The scene's folder, a folder that contains it, or a ray dataset (.npz, .npy).
    Without it, $NERF_JAX_DATA and ./data are searched."""
    format: Literal["auto", "bricks", "blender", "rays", "llff", "colmap", "transforms"] = "auto"
    """The format of the files; `auto` detects it, and the log names the others that are there."""
    downscale: Annotated[int, at_least(1)] = 1
    """Factor by which images are reduced, by averaging areas."""
    max_side: Annotated[int | None, at_least(1)] = None
    """Longest side of a capture's images in pixels; larger ones are reduced by a whole factor."""
    hold_out: Annotated[int, at_least(0), _SPLITS_OFF_SOME] = 8
    """Every k-th photo of a capture, starting with the first, is held out for validation; 0 for
    none. Ignored by captures that define their own splits."""
    memory: Annotated[str | None, BYTES] = None
    """Memory of training, such as `2GB`. Photos that take more than a quarter of it are decoded
    once into a cache on disk, and exchanged in parts as training goes on. Default: what is free."""
    normalize: Literal["points", "cameras", "none"] = "cameras"
    """Placement of a capture: `cameras` rotates it upright (z up) and scales the cameras into the
    cube [-1, 1]; `points` fills that cube with the subject, by the sparse points, which also give
    `near` and `far`; `none` keeps the frame of the files."""
    plane_sweep: bool = False
    """Find more known depths in a capture of up to 100 photos by comparing them (plane-sweep
    stereo), for methods that learn from depths. It takes some seconds."""
    image_size: Annotated[tuple[int, int] | None, _POSITIVE_SIDES] = None
    """Height and width of a ray dataset's images, if its file does not give them."""
    near: Annotated[float | None, NON_NEGATIVE] = None
    """Distance at which rays start, in world units. Default: given by the dataset or its format."""
    far: Annotated[float | None, NON_NEGATIVE] = None
    """Distance at which rays end; the default is that of `near`."""
    background: Literal["white", "black", "random"] = "white"
    """Colour behind transparent pixels. `random`: one per training ray, and white in renderings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.near is not None and self.far is not None:
            self.bounds(self.near, self.far)

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else num_bytes(self.memory)

    def bounds(self, near: float, far: float) -> tuple[float, float]:
        """The config's near and far, or the given defaults where it has none.

        Raises:
            ValueError: near is not below far.
        """
        near = near if self.near is None else self.near
        far = far if self.far is None else self.far
        require(near < far, "data.near", near, f"below data.far={far}")
        return near, far
