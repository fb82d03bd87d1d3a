"""The methods, each a function of a page that joins a field, a sampler and a renderer."""

import numpy as np
from jaxtyping import Float

from nerf_jax.config import (
    Config,
    HashConfig,
    MipConfig,
    NerfConfig,
    ProposalConfig,
    TutorialConfig,
)
from nerf_jax.methods.grid_fields import fit_space, grid_field
from nerf_jax.methods.hash_grid import hash_grid
from nerf_jax.methods.mip import mip, mip_field
from nerf_jax.methods.nerf import nerf, nerf_field
from nerf_jax.methods.optimizer import make_optimizer
from nerf_jax.methods.proposal import proposal
from nerf_jax.methods.resolve import resolve
from nerf_jax.methods.tutorial import tutorial, tutorial_field
from nerf_jax.pose_refinement import refine_poses
from nerf_jax.types import Model

__all__ = [
    "build",
    "fit_space",
    "grid_field",
    "hash_grid",
    "make_optimizer",
    "mip",
    "mip_field",
    "nerf",
    "nerf_field",
    "proposal",
    "resolve",
    "tutorial",
    "tutorial_field",
]


def build(config: Config, log_exposure: Float[np.ndarray, " N"] | None = None) -> Model:
    """The model of a config, whose camera model, if any, starts at the photos' exposures."""
    background = config.data.background
    match config.model:
        case TutorialConfig():
            method = tutorial(config.model, background)
        case NerfConfig():
            method = nerf(config.model, background)
        case MipConfig():
            method = mip(config.model, background)
        case HashConfig():
            method = hash_grid(config.model, background, log_exposure)
        case ProposalConfig():
            method = proposal(config.model, background)
    if config.optimizer.pose_learning_rate:
        return refine_poses(method)
    return method
