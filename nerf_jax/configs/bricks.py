"""The built-in scene, with a small plain NeRF.

python run.py
"""

from nerf_jax.config import (
    Config,
    DataConfig,
    Exponential,
    NerfConfig,
    OptimizerConfig,
    TrainConfig,
)

config = Config(
    name="bricks",
    data=DataConfig(scene="bricks", downscale=2, near=2.5, far=5.5),
    model=NerfConfig(
        num_coarse=32, num_fine=32, depth=4, width=64, skip=0, position_bands=7, direction_bands=2
    ),
    optimizer=OptimizerConfig(learning_rate=3e-3, schedule=Exponential(final=0.1, steps=2000)),
    train=TrainConfig(num_steps=2000, rays_per_step=1024, validate_every=500),
)
