"""A run in a few lines and a picture: what a notebook shows of it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from nerf_jax.app.report.pages import filled
from nerf_jax.app.report.pictures import picture, read_panels
from nerf_jax.app.report.record import Record
from nerf_jax.app.report.text import count, fixed, seconds

MAX_SIDE = 256
"""Of the pictures, in pixels."""


def card(
    title: str, pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]], facts: Mapping[str, str]
) -> str:
    """HTML that needs nothing around it: a title, labelled pictures, and a table of facts."""
    return filled(
        "card.html",
        title=title,
        pictures={label: picture(pixels, MAX_SIDE) for label, pixels in pictures.items()},
        facts=facts,
    )


def card_of(record: Record) -> str:
    """The card of a run that was evaluated: the view in the middle of its scores."""
    seen = [view for view in record.views if view.picture.is_file()]
    pictures = {}
    if seen:
        middle = seen[len(seen) // 2]
        panels = read_panels(middle.picture)
        pictures = {f"truth, {middle.name}": panels.truth, "rendering": panels.rendering}
    facts = {
        "PSNR": f"{fixed(record.score.psnr, 2)} dB",
        "SSIM": fixed(record.score.ssim, 4),
        f"views of {record.protocol['split']}": str(len(record.views)),
        "steps": count(record.fact("steps")),
        "training": seconds(record.fact("train_seconds")),
    }
    return card(record.name, pictures, facts)
