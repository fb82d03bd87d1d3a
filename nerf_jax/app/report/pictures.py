"""Pictures and videos as text, so that a page is one file."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from nerf_jax.data.files import optional_import

LOSSLESS_SIDE = 256
"""Pictures up to this size keep every value: they are small, and seen enlarged."""


class Panels(NamedTuple):
    """What evaluation saw of a view."""

    truth: UInt8[np.ndarray, "H W 3"]
    rendering: UInt8[np.ndarray, "H W 3"]
    error: UInt8[np.ndarray, "H W 3"]
    """Three times as strong."""
    depth: UInt8[np.ndarray, "H W 3"]
    """Red near, blue far, on a scale of its own."""


def read_panels(picture: Path) -> Panels:
    """The four pictures that evaluation wrote side by side.

    Raises:
        ValueError: the file is damaged.
    """
    pillow = optional_import("PIL.Image", "pillow")
    try:
        with pillow.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        return Panels(*np.split(pixels, 4, axis=1))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all of them
        raise ValueError(
            f"{picture}: damaged, or not four pictures side by side ({error}); "
            "`run.py eval RUN` writes it anew"
        ) from error


def picture(pixels: UInt8[np.ndarray, "H W 3"], max_side: int) -> str:
    """A ``data:`` URI of a picture, made smaller if it is larger than ``max_side``."""
    pillow = optional_import("PIL.Image", "pillow")
    image = pillow.fromarray(pixels)
    small = max(image.size) <= LOSSLESS_SIDE
    image.thumbnail((max_side, max_side), pillow.Resampling.LANCZOS)
    # Sharp: halved colour would blur the edges of what is to be compared.
    how = {"lossless": True} if small else {"quality": 90, "use_sharp_yuv": True}
    stream = io.BytesIO()
    image.save(stream, format="WEBP", **how)
    return data_uri(stream.getvalue(), "image/webp")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as the address of themselves."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
