"""The 100-line NeRF on the lego scene: one network, 192 bins, 1024 rays a step, 16 epochs.

    python run.py --config tutorial.py

Simple and slow. On a GPU the images have 400x400 pixels, as in the tutorial. On two CPU cores a
step of 1024 rays takes about 10 s, so the images have 100x100 pixels there: a short run
(``--train.max_seconds 300``) gives first results.
"""

from nerf_jax.config import (
    Config,
    DataConfig,
    EvalConfig,
    Milestones,
    OptimizerConfig,
    RenderConfig,
    TrainConfig,
    TutorialConfig,
)


def config(platform: str) -> Config:
    small = platform == "cpu"
    return Config(
        name="tutorial",
        note="few images of 100x100: one of 400x400 takes a CPU minutes" if small else "",
        data=DataConfig(scene="lego", downscale=8 if small else 2, near=2.0, far=6.0),
        model=TutorialConfig(),
        optimizer=OptimizerConfig(learning_rate=5e-4, schedule=Milestones(epochs=(2, 4, 8))),
        # 16 epochs of 100 images of 400x400.
        train=TrainConfig(
            num_steps=250_000,
            rays_per_step=1024,
            validate_every=10 if small else 1000,
            checkpoint_every=10 if small else 5000,
        ),
        eval=EvalConfig(every=50 if small else 10, rays_per_chunk=512 if small else 8192),
        render=RenderConfig(num_frames=8 if small else 60, downscale=2 if small else 1),
    )
