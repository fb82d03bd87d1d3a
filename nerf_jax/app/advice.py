"""Advice to the user, from the metrics of training."""

from collections.abc import Mapping
from typing import cast

from nerf_jax.config import Config
from nerf_jax.config.methods import GridConfig
from nerf_jax.config.serialization import to_dict
from nerf_jax.methods.grid_fields import density_bias

_SETTLED = 1024
"""Steps until the occupancy grid has marked most of the empty space."""


def advise(config: Config, means: Mapping[str, float]) -> dict[str, str]:
    """Problems of a run that its metrics show, and their remedies.

    Args:
        config: the run's.
        means: the metrics' means over some steps, and the index of the last one, ``step``.

    Returns:
        ``{metric: message}``; empty if there is no problem.
    """
    model, found = to_dict(config.model), {}
    if means.get("opacity", 1) == 0:
        remedy = f"begin again with another --train.seed (now {config.train.seed})"
        if model.get("density_activation") == "relu":
            remedy += ", or with --model.density_activation softplus"
        found["opacity"] = (
            "the density is zero along every ray, and a ReLU has no gradient there, so nothing is "
            f"learned: {remedy}"
        )
    if means.get("samples", 1) < 1:
        bias = density_bias(cast(GridConfig, config.model))  # no other method counts samples
        found["samples"] = (
            "the scene is empty everywhere, so nothing is learned: raise --model.density_bias "
            f"(now {bias:.2g}), or lower --model.min_alpha (now "
            f"{model['min_alpha']:g})"
        )
    if means.get("outside", 0) > 0.01:
        found["outside"] = (
            f"{means['outside']:.0%} of the rays are not background, but miss the cube of half "
            f"side {model['box_radius']:g} around {tuple(model['box_center'])} that must contain "
            "the scene: raise --model.box_radius, or move --model.box_center to the scene"
        )
    if means.get("kept", 1) < 0.1 and means["step"] > _SETTLED:
        found["kept"] = (
            f"{1 - means['kept']:.0%} of the rays are dropped, as there is no room for their "
            f"samples: raise --model.max_samples (now {model['max_samples']}), or lower "
            "--train.rays_per_step"
        )
    return found
