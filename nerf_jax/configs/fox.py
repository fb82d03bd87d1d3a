"""The fox: 50 photos by a phone, all around and without bounds.

    python run.py --config fox.py

At a quarter of its size, 270x480, for ten minutes on two cores: 30.6 dB on the 7 photos held out,
27 dB after one minute (``--train.max_seconds 60``).
"""

from dataclasses import replace

from nerf_jax.config import DataConfig, load

_capture = load("capture.py", "cpu")
config = replace(
    _capture, name="fox", data=DataConfig(scene="fox", downscale=4, background="random")
)
