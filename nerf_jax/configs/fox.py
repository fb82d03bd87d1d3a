"""The fox: 50 phone photos of an unbounded scene.

    python run.py --config fox.py

At a quarter of the original resolution, 270x480, ten minutes on two CPU cores: 30.2 dB on the 7
held-out photos, 27 dB after one minute (``--train.max_seconds 60``).
"""

from dataclasses import replace

from nerf_jax.config import CONFIGS, DataConfig, load

_capture = load(str(CONFIGS / "capture.py"), "cpu")
config = replace(
    _capture,
    name="fox",
    data=DataConfig(scene="fox", downscale=4, background="random", plane_sweep=True),
)
