"""Pictures: 8 and 16 bits, PNG and OpenEXR, depth as colour."""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from nerf_jax.data.files import atomic_write, optional_import


def to_uint8(image: Float[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """Values in [0, 1] rounded to 8 bits."""
    return np.round(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)


def to_uint16(image: Float[np.ndarray, "*n"]) -> UInt16[np.ndarray, "*n"]:
    """Values in [0, 1] rounded to 16 bits."""
    return np.round(np.clip(image, 0.0, 1.0) * 65535).astype(np.uint16)


def write_png(path: Path, image: Float[np.ndarray, "H W 3"]) -> None:
    """Write a picture of values in [0, 1]."""
    pillow = optional_import("PIL.Image", "pillow")
    with atomic_write(path) as aside:
        pillow.fromarray(to_uint8(image)).save(aside)


def color_depth(
    depth: Float[np.ndarray, "*n"], opacity: Float[np.ndarray, "*n"], near: float, far: float
) -> Float[np.ndarray, "*n 3"]:
    """Depth as colour, red near and blue far, on white by opacity.

    Args:
        depth: distances in world units.
        opacity: in [0, 1].
        near, far: the distances at the two ends of the scale.
    """
    colormaps = optional_import("matplotlib", "matplotlib").colormaps
    part = np.clip((depth - near) / max(far - near, 1e-9), 0.0, 1.0)
    colored = colormaps["turbo_r"](0.08 + 0.84 * part)[..., :3]  # its very ends are nearly black
    return (colored * opacity[..., None] + 1.0 - opacity[..., None]).astype(np.float32)


def depth_range(
    depth: Float[np.ndarray, "*n"], opacity: Float[np.ndarray, "*n"]
) -> tuple[float, float]:
    """The nearest and farthest distances among what is solid, leaving out one in fifty."""
    solid = depth[(opacity > 0.5) & np.isfinite(depth)]
    if not solid.size:
        return 0.0, 1.0
    low, high = np.percentile(solid, [1, 99])
    return float(low), float(high)


def write_png16(path: Path, values: UInt16[np.ndarray, "H W *C"]) -> None:
    """Write a PNG of 16 bits a channel, grey or RGB: Pillow knows no such RGB.

    ISO/IEC 15948: a signature, and chunks of a length, a name, data and a checksum.
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    height, width = values.shape[:2]
    kind = 0 if values.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    unfiltered = np.pad(rows, ((0, 0), (1, 0)))  # each row says first how it is filtered: not
    data = zlib.compress(unfiltered.tobytes(), level=6)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    with atomic_write(path) as aside:
        aside.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def write_exr(path: Path, channels: Mapping[str, Float[np.ndarray, "H W"]]) -> None:
    """Write an OpenEXR picture of float32 channels, without loss.

    Raises:
        ImportError: the package is missing.
    """
    exr = optional_import("OpenEXR", "nerf_jax[exr]")
    header = {"type": exr.scanlineimage, "compression": exr.ZIP_COMPRESSION}
    content = {name: np.ascontiguousarray(each, np.float32) for name, each in channels.items()}
    with atomic_write(path) as aside:
        exr.File(header, content).write(str(aside))
