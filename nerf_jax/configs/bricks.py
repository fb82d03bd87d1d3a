"""The built-in scene at 128x128, with the flagship method.

    python run.py

For two CPU cores: ray tracing the scene takes 7 to 9 s (once), compiling 16 to 20 s, training 45 s,
the scores and the video a few seconds. About 34 dB on held-out views.
"""

from dataclasses import replace

from nerf_jax.config import CONFIGS, DataConfig, EvalConfig, HashConfig, load

_lego = load(str(CONFIGS / "lego.py"), "cpu", num_steps=3000)
assert isinstance(_lego.model, HashConfig)
config = replace(
    _lego,
    name="bricks",
    note="sizes for two CPU cores and two minutes",
    data=DataConfig(scene="bricks", downscale=2, near=2.5, far=5.5, background="random"),
    model=replace(
        _lego.model, box_radius=1.05, num_levels=6, max_resolution=128, candidates_per_sample=4
    ),
    optimizer=replace(_lego.optimizer, learning_rate=4e-2, beta2=0.98),
    train=replace(
        _lego.train, num_steps=3000, max_seconds=45.0, validate_every=500, checkpoint_every=1000
    ),
    eval=EvalConfig(rays_per_chunk=16_384),
)
