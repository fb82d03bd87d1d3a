"""The 2020 paper on the lego scene: coarse and fine networks, 64 + 128 samples, at 800x800.

    python run.py --config lego_nerf.py

The paper reports 32.54 dB on the test split, after about a day on a V100. Needs a GPU; training at
half the size (``--data.downscale 2``) is the usual shorter version.
"""

from nerf_jax.config import (
    Config,
    DataConfig,
    EvalConfig,
    Exponential,
    NerfConfig,
    OptimizerConfig,
    TrainConfig,
)

config = Config(
    name="lego_nerf",
    data=DataConfig(scene="lego", near=2.0, far=6.0),
    model=NerfConfig(),
    optimizer=OptimizerConfig(learning_rate=5e-4, schedule=Exponential(final=0.1, steps=500_000)),
    train=TrainConfig(num_steps=200_000, rays_per_step=4096),
    eval=EvalConfig(every=10, rays_per_chunk=8192),
)
