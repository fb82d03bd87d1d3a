"""The fern: 20 photos taken from one side, in normalised device coordinates.

    python run.py --config fern.py

At an eighth of the original resolution, 504x378, ten minutes on two CPU cores: 25.3 dB on the 3
held-out photos. Your own photos taken from one side are recognised by ``capture.py``.
"""

from dataclasses import replace

from nerf_jax.config import CONFIGS, DataConfig, HashConfig, load

_capture = load(str(CONFIGS / "capture.py"), "cpu")
assert isinstance(_capture.model, HashConfig)
config = replace(
    _capture,
    name="fern",
    note="8 levels of 2^17 entries, a grid of 64^3 cells: for two CPU cores and ten minutes",
    data=DataConfig(scene="fern", format="llff", downscale=8, background="random"),
    model=replace(
        _capture.model,
        space="frustum",
        grid_resolution=64,
        num_candidates=0,
        distortion=0.03,
    ),
    render=replace(_capture.render, path="spiral"),
)
