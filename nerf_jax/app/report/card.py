"""A run as a card: a picture and a few facts, which a notebook shows of it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from nerf_jax.app.report.pages import render_template
from nerf_jax.app.report.pictures import picture, read_panels
from nerf_jax.app.report.record import Record
from nerf_jax.app.report.text import count, fixed, seconds

MAX_SIDE = 256
"""Pixels of a picture's longer side."""


def card(
    title: str, pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]], facts: Mapping[str, str]
) -> str:
    """A fragment of HTML: a title, labelled pictures, and a table of facts."""
    addresses = {label: picture(pixels, MAX_SIDE) for label, pixels in pictures.items()}
    return render_template("card.html", title=title, pictures=addresses, facts=facts)


def card_of(record: Record) -> str:
    """The card of an evaluated run, with the view of the median score."""
    pictured = [view for view in record.views if view.picture.is_file()]
    pictures = {}
    if pictured:
        median = pictured[len(pictured) // 2]
        panels = read_panels(median.picture)
        pictures = {f"truth, {median.name}": panels.truth, "rendering": panels.rendering}
    facts = {
        "PSNR": f"{fixed(record.score.psnr, 2)} dB",
        "SSIM": fixed(record.score.ssim, 4),
        f"views of {record.protocol['split']}": str(len(record.views)),
        "steps": count(record.fact("steps")),
        "training": seconds(record.fact("train_seconds")),
    }
    return card(record.name, pictures, facts)
