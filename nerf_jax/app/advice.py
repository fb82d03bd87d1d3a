"""Advice to the user, from the metrics of training."""

from collections.abc import Mapping

from nerf_jax.config import Config
from nerf_jax.config.serialization import to_dict

_SETTLED = 1024
"""Steps after which most of the occupancy grid is empty where the scene is."""


def advise(config: Config, means: Mapping[str, float]) -> dict[str, str]:
    """What the user should know of a run, and do.

    Args:
        config: the run's.
        means: of the metrics over some steps, and the number of the last one, ``step``.

    Returns:
        ``{metric: message}``, empty if all is well.
    """
    model, found = to_dict(config.model), {}
    if means.get("samples", 1) < 1:
        found["samples"] = (
            "nothing stops any light, so that nothing is learned: raise --model.density_bias "
            f"(now {model['density_bias']:g}), or lower --model.min_alpha (now "
            f"{model['min_alpha']:g})"
        )
    if means.get("outside", 0) > 0.01:
        found["outside"] = (
            f"{means['outside']:.0%} of the rays show something, but miss the cube of half side "
            f"{model['box_radius']:g} around {tuple(model['box_center'])} that the scene should be "
            "in: raise --model.box_radius, or move --model.box_center to the scene"
        )
    if means.get("kept", 1) < 0.1 and means["step"] > _SETTLED:
        found["kept"] = (
            f"{1 - means['kept']:.0%} of the rays sampled do not fit and are dropped: raise "
            f"--model.max_samples (now {model['max_samples']}), or lower --train.rays_per_step"
        )
    return found
