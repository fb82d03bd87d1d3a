"""Which part of the world is exported, and how fine its photos are."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from nerf_jax.app.mesh.views import Views, points
from nerf_jax.app.trained import Trained

_MARGIN = 0.01
"""Of the box's longest side, around what is seen."""


class Region(NamedTuple):
    """A box, its sides along the axes; world units."""

    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]

    def __str__(self) -> str:
        return " ".join(f"{number:.4g}" for number in (*self.low, *self.high))

    def holds(self, points: Float[np.ndarray, "P 3"]) -> Bool[np.ndarray, " P"]:
        """Which points are in it."""
        return np.all((points >= self.low) & (points <= self.high), axis=1)


def seen_region(scene: Trained, views: Views) -> Region:
    """The box around what the training cameras see, but for what strays.

    Of a capture, what is in the cube that its space is contracted around, if half of it all is:
    what is around the subject gets ever thinner.

    Raises:
        ValueError: they see nothing.
    """
    places, _ = points(views)
    stray, limits = 0.02, None
    box = _scene_box(scene)
    if box is not None and scene.config.model.bounded:
        stray, limits = 0.001, box
    elif box is not None and box.holds(places).mean() >= 0.5:
        stray, limits = 0.002, box
    if limits is not None:
        places = places[limits.holds(places)]
    if not len(places):
        raise ValueError(
            f"{scene.run.folder}: the training cameras see nothing solid in it, so there is "
            "nothing to export: train for longer"
        )
    low, high = np.quantile(places.astype(float), [stray, 1 - stray], axis=0)
    margin = _MARGIN * max(float((high - low).max()), 1e-6)
    low, high = low - margin, high + margin
    if limits is None:
        return Region(low, high)
    return Region(np.maximum(low, limits.low), np.minimum(high, limits.high))


def learned_region(scene: Trained) -> Region:
    """The box that the method says the scene is in: for one given by rays, without cameras.

    Raises:
        ValueError: it says nothing of the kind.
    """
    box = _scene_box(scene)
    if box is None:
        raise ValueError(
            f"{scene.run.folder}: trained on a ray dataset by a method without a box, so it is "
            "not known where the scene is: name the box to export by --crop"
        )
    return box


def nothing_in(scene: Trained, region: Region, views: Views | None) -> ValueError:
    """The error that there is no surface in a region, and where there is one."""
    seen = f"; its training cameras see what is within {seen_region(scene, views)}" if views else ""
    return ValueError(
        f"{scene.run.folder}: there is no surface in the box {region} of the scene's world{seen}: "
        "move or widen --crop, or leave it out"
    )


def _scene_box(scene: Trained) -> Region | None:
    """The box that the method's config says the scene, or its subject, is in."""
    box = scene.config.model.scene_box
    return None if box is None else Region(*np.array(box, np.float32).astype(float))
