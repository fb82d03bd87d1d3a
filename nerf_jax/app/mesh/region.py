"""The box of the world that is exported."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from nerf_jax.app.mesh.views import Views, surface_points
from nerf_jax.app.trained import Trained

_MARGIN = 0.01
"""Added on each side of the visible points, relative to the box's longest side."""


class Region(NamedTuple):
    """An axis-aligned box in world units."""

    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]

    def __str__(self) -> str:
        return " ".join(f"{number:.4g}" for number in (*self.low, *self.high))

    def contains(self, points: Float[np.ndarray, "P 3"]) -> Bool[np.ndarray, " P"]:
        """Whether each point is in the box."""
        return np.all((points >= self.low) & (points <= self.high), axis=1)


def visible_region(scene: Trained, views: Views) -> Region:
    """The box around the surfaces that the training cameras see, without outliers.

    For an unbounded scene: around those within the uncontracted cube, if it holds at least half of
    them, as points get sparse farther out.

    Raises:
        ValueError: the cameras see no surface.
    """
    points, _ = surface_points(views)
    box = _scene_box(scene)
    outliers, limits = 0.02, Region(np.full(3, -np.inf), np.full(3, np.inf))
    if box is not None and scene.config.model.bounded:
        outliers, limits = 0.001, box
    elif box is not None and box.contains(points).mean() >= 0.5:
        outliers, limits = 0.002, box
    points = points[limits.contains(points)]
    if not len(points):
        raise ValueError(
            f"{scene.run.folder}: the training cameras see no surface, so there is nothing to "
            "export: train for longer"
        )
    low, high = np.quantile(points.astype(float), [outliers, 1 - outliers], axis=0)
    margin = _MARGIN * max(float((high - low).max()), 1e-6)
    return Region(np.maximum(low - margin, limits.low), np.minimum(high + margin, limits.high))


def method_region(scene: Trained) -> Region:
    """The scene box of the method: for scenes trained on rays, without cameras.

    Raises:
        ValueError: the method has none.
    """
    box = _scene_box(scene)
    if box is None:
        raise ValueError(
            f"{scene.run.folder}: trained on a ray dataset by a method without a scene box, so the "
            "extent of the scene is unknown: give the box to export by --crop"
        )
    return box


def no_surface_error(scene: Trained, region: Region, views: Views | None) -> ValueError:
    """The error that a region holds no surface; it names the region that does."""
    known = f"; its cameras see surfaces within {visible_region(scene, views)}" if views else ""
    return ValueError(
        f"{scene.run.folder}: there is no surface in the box {region} of the scene's world{known}: "
        "move or enlarge --crop, or leave it out"
    )


def _scene_box(scene: Trained) -> Region | None:
    box = scene.config.model.scene_box
    return None if box is None else Region(*np.array(box, np.float32).astype(float))
