"""The lego scene, by the paper's method at a size that suits the device.

    python run.py --config lego.py

On a GPU, 400x400 and the paper's networks. On a CPU, 100x100 and smaller ones:
24.0 dB on 10 val views, white, after two minutes on two cores (``--train.max_seconds 120``).
"""

import dataclasses

from nerf_jax.config import (
    Config,
    DataConfig,
    EvalConfig,
    Exponential,
    NerfConfig,
    OptimizerConfig,
    RenderConfig,
    TrainConfig,
)

GPU = Config(
    name="lego",
    note="the paper's networks at half size (--data.downscale 1 for the full 800x800)",
    data=DataConfig(scene="lego", downscale=2, near=2.0, far=6.0),
    model=NerfConfig(),
    optimizer=OptimizerConfig(learning_rate=5e-4, schedule=Exponential(final=0.1, steps=200_000)),
    train=TrainConfig(num_steps=50_000, rays_per_step=4096),
    eval=EvalConfig(every=10, rays_per_chunk=8192),
)

CPU = dataclasses.replace(
    GPU,
    note="a smaller network and 100x100 pictures, to see something in minutes; a GPU gets the "
    "paper's, and configs/lego_nerf.py asks for them anywhere",
    data=dataclasses.replace(GPU.data, downscale=8),
    model=NerfConfig(
        num_coarse=32,
        num_fine=32,
        depth=4,
        width=64,
        skip=0,
        density_activation="softplus",
        position_bands=8,
        direction_bands=2,
    ),
    optimizer=OptimizerConfig(learning_rate=3e-3, schedule=Exponential(final=0.1, steps=12_000)),
    train=TrainConfig(
        num_steps=12_000, rays_per_step=256, validate_every=500, checkpoint_every=2000
    ),
    render=RenderConfig(num_frames=40),
)


def config(platform: str) -> Config:
    return CPU if platform == "cpu" else GPU
