"""The built-in scene, by the paper's method with small networks, at 128x128.

    python run.py

Made for two CPU cores: the scene is ray-traced in about 10 s (once), training takes 2 minutes,
the scores and the video half a minute. About 25 dB on held-out views.
"""

from nerf_jax.config import (
    Config,
    DataConfig,
    Exponential,
    NerfConfig,
    OptimizerConfig,
    RenderConfig,
    TrainConfig,
)

config = Config(
    name="bricks",
    note="sizes for two CPU cores and a few minutes",
    data=DataConfig(scene="bricks", downscale=2, near=2.5, far=5.5),
    model=NerfConfig(
        num_coarse=24,
        num_fine=24,
        depth=4,
        width=64,
        skip=0,
        density_activation="softplus",
        position_bands=7,
        direction_bands=2,
    ),
    optimizer=OptimizerConfig(learning_rate=4e-3, schedule=Exponential(final=0.1, steps=6000)),
    # Few rays a step: this early, more steps do more than more rays do.
    train=TrainConfig(
        num_steps=6000,
        max_seconds=150.0,
        rays_per_step=128,
        validate_every=500,
        checkpoint_every=2000,
    ),
    render=RenderConfig(num_frames=40, fps=12.0),
)
