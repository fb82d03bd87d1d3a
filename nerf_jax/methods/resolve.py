"""What a method's config leaves to the photos: its space, its steps, what is behind the scene."""

from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np

from nerf_jax.config.methods import GridConfig, HashConfig, MethodConfig, steps_in_box
from nerf_jax.contraction import required_steps
from nerf_jax.methods.grid_fields import default_density_bias, fit_space
from nerf_jax.types import Cameras, Dataset

Config = TypeVar("Config", bound=MethodConfig)

_PARALLEL = 0.97
"""The length of the mean of the optical axes from which cameras look from one side."""
_APART = 0.5
"""The farthest camera from the mean one, relative to the distance of what they see."""


def resolve(config: Config, dataset: Dataset) -> tuple[Config, tuple[str, ...]]:
    """The config with everything chosen, and a line for the log about each choice.

    Args:
        config: of any method; one in which nothing is left open is returned as it is.
        dataset: the training photos, with the depths of their sparse points where there are any.
    """
    notes: list[str] = []
    if isinstance(config, GridConfig) and config.space == "auto":
        kind, why = _choose_space(dataset)
        notes.append(f"space {kind}: {why}")
        radius = 1.5 if kind == "box" else config.box_radius  # nothing is outside of a box
        config = replace(config, space=kind, box_radius=radius)
    if isinstance(config, GridConfig) and config.space == "frustum" and config.density_bias is None:
        near = float(np.min(dataset.cameras.near))
        if near > 0:  # else fit_space raises
            # Steps, and with them opacities, are in proportion to `near`. A config has bounds.
            bias = float(np.clip(default_density_bias(near), -14, 14))
            config = replace(config, density_bias=bias)
    if isinstance(config, HashConfig) and config.space == "frustum" and config.direction_noise:
        notes.append("no noise on directions, which differ little in a frustum")
        config = replace(config, direction_noise=0.0)
    if isinstance(config, GridConfig) and config.environment and dataset.pixels.shape[-1] == 4:
        notes.append("the photos have alpha: no colour is learned for what is far away")
        config = replace(config, environment=False)
    if isinstance(config, HashConfig) and not config.num_candidates:
        space = fit_space(config, dataset.cameras, dataset.size_hw)
        cells = config.grid_resolution
        needed = steps_in_box(cells) if config.bounded else required_steps(space, cells)
        notes.append(f"{needed} steps a ray, for a grid of {cells} cells")
        config = replace(config, num_candidates=needed)
    return config, tuple(notes)


def _choose_space(dataset: Dataset) -> tuple[Literal["box", "contracted", "frustum"], str]:
    """The space that suits the photos, and why."""
    depth = dataset.depth
    if dataset.pixels.shape[-1] == 4 and depth is not None:
        return "box", "an object on transparent ground"
    if not isinstance(dataset.cameras, Cameras):
        return "contracted", "rays without cameras"
    poses = np.asarray(dataset.cameras.world_from_camera, float)
    origins, parallel = poses[:, :, 3], np.linalg.norm(poses[:, :, 2].mean(axis=0))
    near, far = np.min(dataset.cameras.near), np.max(dataset.cameras.far)
    distance = 2 / (1 / near + 1 / far)
    if depth is not None:
        # Photo by photo, as all depths may not fit in memory.
        distance = np.median(np.concatenate([each[each > 0] for each in depth]))
    apart = np.linalg.norm(origins - origins.mean(axis=0), axis=1).max() / distance
    seen = f"optical axes {parallel:.0%} parallel, cameras {apart:.2g} of the distance apart"
    lens = dataset.cameras.lens
    if lens is not None and np.any(lens.fisheye):
        return "contracted", f"{seen}, but a fisheye sees beyond a frustum"
    one_side = parallel > _PARALLEL and apart < _APART
    return ("frustum", f"from one side, {seen}") if one_side else ("contracted", seen)
