"""mip-NeRF on the lego scene: cones through pixels instead of rays through their centres.

    python run.py --config lego_mip.py

On a GPU, 800x800 images and the paper's sizes, for a fifth of its 1M steps; on a CPU, small images
and a small network for ten minutes. Neither has been measured yet. The flagship, ``lego.py``, is
much faster; this method is for views at different distances.
"""

from nerf_jax.config import (
    Config,
    DataConfig,
    EvalConfig,
    Exponential,
    MipConfig,
    OptimizerConfig,
    RenderConfig,
    TrainConfig,
)

CPU = Config(
    name="lego_mip",
    note="images of an eighth of the size and a small network, for two CPU cores and ten minutes",
    data=DataConfig(scene="lego", downscale=8, near=2.0, far=6.0),
    model=MipConfig(num_samples=48, depth=4, width=64, skip=3),
    optimizer=OptimizerConfig(
        learning_rate=2e-3, warmup_steps=100, schedule=Exponential(final=0.1, steps=10_000)
    ),
    train=TrainConfig(num_steps=20_000, max_seconds=600.0, rays_per_step=1024),
    eval=EvalConfig(every=12),
    render=RenderConfig(num_frames=30),
)

GPU = Config(
    name="lego_mip",
    note="the paper's sizes and learning rates, for a fifth of its steps",
    data=DataConfig(scene="lego", near=2.0, far=6.0),
    model=MipConfig(),
    optimizer=OptimizerConfig(
        learning_rate=5e-4, warmup_steps=2500, schedule=Exponential(final=0.01, steps=200_000)
    ),
    train=TrainConfig(num_steps=200_000, rays_per_step=4096),
    eval=EvalConfig(every=10, rays_per_chunk=8192),
)


def config(platform: str) -> Config:
    """The preset for "cpu", "gpu" or "tpu"."""
    return CPU if platform == "cpu" else GPU
