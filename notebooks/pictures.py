"""Images in rows: the one helper that several notebooks share."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np


def show(images: Mapping[str, Any], columns: int, **options: Any) -> None:
    """Show images in rows, each with its title.

    Args:
        images: ``{title: image}``, [H, W] or [H, W, 3] in [0, 1].
        columns: images of a row.
        **options: those of matplotlib's ``imshow``.
    """
    height, width = np.shape(next(iter(images.values())))[:2]
    rows = -(-len(images) // columns)
    size = (10.5, rows * (10.5 / columns * height / width + 0.2))
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax, (title, image) in zip(axes.flat, images.items(), strict=True):
        clipped = np.clip(image, 0, 1) if np.ndim(image) == 3 else image
        ax.imshow(clipped, interpolation="nearest", **options)
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    fig.tight_layout(pad=0.3)
    plt.show()
