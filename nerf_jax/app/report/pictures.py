"""Pictures and videos as ``data:`` URIs, so that a page is one file."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from nerf_jax.data.files import optional_import

LOSSLESS_SIDE = 256
"""Pixels up to which pictures are lossless: they are small, and shown enlarged."""


class Panels(NamedTuple):
    """The four pictures that evaluation writes of a view."""

    truth: UInt8[np.ndarray, "H W 3"]
    rendering: UInt8[np.ndarray, "H W 3"]
    error: UInt8[np.ndarray, "H W 3"]
    """Three times as strong."""
    depth: UInt8[np.ndarray, "H W 3"]
    """Red near, blue far, each view on its own scale."""


def read_panels(path: Path) -> Panels:
    """Read the four pictures from the file in which they are side by side.

    Raises:
        ValueError: the file is damaged.
    """
    pillow = optional_import("PIL.Image", "pillow")
    try:
        with pillow.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        return Panels(*np.split(pixels, 4, axis=1))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all of them
        raise ValueError(
            f"{path}: damaged, or not four pictures side by side ({error}); `run.py eval RUN` "
            "rewrites it"
        ) from error


def picture(pixels: UInt8[np.ndarray, "H W 3"], max_side: int) -> str:
    """The ``data:`` URI of a picture, reduced to ``max_side`` pixels if it is larger."""
    pillow = optional_import("PIL.Image", "pillow")
    image = pillow.fromarray(pixels)
    lossless = max(image.size) <= LOSSLESS_SIDE
    image.thumbnail((max_side, max_side), pillow.Resampling.LANCZOS)
    # Sharp, as subsampled colour would blur the edges that a reader compares.
    options = {"lossless": True} if lossless else {"quality": 90, "use_sharp_yuv": True}
    stream = io.BytesIO()
    image.save(stream, format="WEBP", **options)
    return data_uri(stream.getvalue(), "image/webp")


def data_uri(content: bytes, kind: str) -> str:
    """The ``data:`` URI of bytes of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
