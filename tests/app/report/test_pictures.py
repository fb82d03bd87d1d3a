"""Pictures as text, and back."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from nerf_jax.app.report.pictures import picture, read_panels


def decoded(address: str) -> np.ndarray:
    kind, _, content = address.partition(";base64,")
    assert kind == "data:image/webp"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_small_pictures_keep_every_value():
    pixels = noise(20, 30)
    np.testing.assert_array_equal(decoded(picture(pixels, 64)), pixels)


def test_large_ones_become_smaller():
    assert decoded(picture(noise(300, 600), 100)).shape == (50, 100, 3)
    smooth = np.broadcast_to(np.linspace(0, 250, 400).astype(np.uint8)[:, None], (300, 400, 1))
    pixels = np.concatenate([smooth, smooth[:, ::-1], smooth // 2], axis=2)
    found = decoded(picture(pixels, 400)).astype(int)
    assert np.abs(found - pixels).max() <= 16
    assert np.abs(found - pixels).mean() < 2


def test_panels_are_cut_apart(tmp_path):
    panels = [noise(5, 7) + n for n in range(4)]
    Image.fromarray(np.hstack(panels)).save(tmp_path / "a.png")
    for found, panel in zip(read_panels(tmp_path / "a.png"), panels, strict=True):
        np.testing.assert_array_equal(found, panel)


@pytest.mark.parametrize("content", [b"", b"no picture", "odd", "cut off"])
def test_damage(tmp_path, content):
    path = tmp_path / "a.png"
    if isinstance(content, str):
        Image.fromarray(noise(40, 41 if content == "odd" else 40)).save(path)
        content = path.read_bytes()[: None if content == "odd" else -2000]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png: damaged, or not four pictures.* rewrites it"):
        read_panels(path)
