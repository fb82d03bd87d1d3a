"""Point clouds as PLY files."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerf_jax.data.files import atomic_write


def write_ply(
    path: Path, points: Float[np.ndarray, "P 3"], colors: UInt8[np.ndarray, "P 3"]
) -> None:
    """Write coloured points as binary PLY: positions in float32, sRGB of 8 bits."""
    rows = np.empty(len(points), [("position", "<f4", 3), ("color", "u1", 3)])
    rows["position"], rows["color"] = points, colors
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    with atomic_write(path) as aside:
        aside.write_bytes("\n".join([*header, "end_header\n"]).encode() + rows.tobytes())
