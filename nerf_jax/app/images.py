"""Image files of 8 and 16 bits, PNG and OpenEXR; depth as colours."""

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


def color_depth(
    depth: Float[np.ndarray, "*n"], opacity: Float[np.ndarray, "*n"], near: float, far: float
) -> Float[np.ndarray, "*n 3"]:
    """Depth as colours over white, red at distance ``near`` and blue at distance ``far``."""
    colormaps = optional_import("matplotlib", "matplotlib").colormaps
    fraction = np.clip((depth - near) / max(far - near, 1e-9), 0.0, 1.0)
    colors = colormaps["turbo_r"](0.08 + 0.84 * fraction)[..., :3]  # its ends are nearly black
    return (colors * opacity[..., None] + 1.0 - opacity[..., None]).astype(np.float32)


def depth_range(
    depth: Float[np.ndarray, "*n"], opacity: Float[np.ndarray, "*n"]
) -> tuple[float, float]:
    """The 1st and 99th percentiles of the depths of opaque pixels; (0, 1) if there are none."""
    solid = depth[(opacity > 0.5) & np.isfinite(depth)]
    if not solid.size:
        return 0.0, 1.0
    low, high = np.percentile(solid, [1, 99])
    return float(low), float(high)


def write_png(path: Path, image: Float[np.ndarray, "H W 3"]) -> None:
    """Write an image of values in [0, 1] with 8 bits per channel."""
    pillow = optional_import("PIL.Image", "pillow")
    with atomic_write(path) as aside:
        pillow.fromarray(to_uint8(image)).save(aside)


def write_png16(path: Path, values: UInt16[np.ndarray, "H W *C"]) -> None:
    """Write a PNG of 16 bits per channel, grey or RGB; Pillow cannot write such RGB.

    ISO/IEC 15948: a signature, then chunks of a length, a name, data and a checksum.
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    height, width = values.shape[:2]
    color_type = 0 if values.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.pad(rows, ((0, 0), (1, 0)))  # each row starts with its filter: 0 is none
    data = zlib.compress(filtered.tobytes(), level=6)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    with atomic_write(path) as aside:
        aside.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def write_exr(path: Path, channels: Mapping[str, Float[np.ndarray, "H W"]]) -> None:
    """Write an OpenEXR image of float32 channels; raises ``ImportError`` without OpenEXR."""
    exr = optional_import("OpenEXR", "nerf_jax[exr]")
    header = {"type": exr.scanlineimage, "compression": exr.ZIP_COMPRESSION}
    arrays = {name: np.ascontiguousarray(each, np.float32) for name, each in channels.items()}
    with atomic_write(path) as aside:
        exr.File(header, arrays).write(str(aside))
