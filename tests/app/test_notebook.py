"""What plays in a notebook: frames, their number, size and colours."""

import base64
import io
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from nerf_jax.app import notebook
from nerf_jax.app.camera_paths import orbit_path
from nerf_jax.app.images import to_uint8
from tests.app.report import made
from tests.app.test_trained import untrained


def frames(gif: bytes) -> tuple[np.ndarray, Image.Image]:
    image = Image.open(io.BytesIO(gif))
    found = []
    for number in range(image.n_frames):
        image.seek(number)
        found.append(np.asarray(image.convert("RGB")))
    return np.stack(found), image


def test_pictures_come_back_in_order():
    ramp = np.linspace(0, 255, 20 * 30).astype(np.uint8).reshape(20, 30, 1)
    pictures = [np.concatenate([ramp, ramp // 2, ramp * 0 + 40 * n], axis=2) for n in range(5)]
    made_of_them = notebook.animation("a ramp", pictures, seconds_each=0.125)
    found, image = frames(made_of_them.gif)
    assert found.shape == (5, 20, 30, 3)
    assert np.abs(found.astype(int) - pictures).max() <= 8  # 128 colours for 600
    assert image.info["loop"] == 0
    assert image.info["duration"] in (120, 130)
    still = np.asarray(Image.open(io.BytesIO(made_of_them.still)))
    np.testing.assert_array_equal(still, pictures[0])


def test_equal_pictures_stay_as_many():
    """Encoders like to merge them, and a turn would jump."""
    pictures = [np.full((8, 8, 3), 90, np.uint8)] * 4
    image = Image.open(io.BytesIO(notebook.animation("grey", pictures, 0.1).gif))
    total = 0
    for number in range(image.n_frames):
        image.seek(number)
        total += image.info["duration"]
    assert total == 400


@pytest.fixture(scope="module")
def scene():
    return untrained()


def test_a_turn_is_what_its_cameras_see(scene, tmp_path):
    turn = notebook.orbit(scene, num_frames=3, size=16)
    found, _ = frames(turn.gif)
    assert found.shape == (3, 16, 16, 3)
    path = orbit_path(scene.cameras(), 3)
    for number in range(3):
        seen = to_uint8(np.asarray(scene.render(path, number, (16, 16)).rgb)).astype(int)
        assert np.abs(found[number] - seen).mean() < 4
    (image,) = made.Page(turn._repr_html_()).all("img")
    assert image["alt"] == "a turn around small"
    assert base64.b64decode(image["src"].split(",")[1]) == turn.gif
    assert turn._repr_png_() == turn.still
    assert turn.save(tmp_path / "new" / "turn.gif").read_bytes() == turn.gif
    assert len(repr(turn)) < 60


def test_what_cannot_be_shown(scene):
    with pytest.raises(ValueError, match="orbit of 0 frames of 128 pixels shows nothing"):
        notebook.orbit(scene, num_frames=0)
    with pytest.raises(ValueError, match="trained on a ray dataset, which has no cameras"):
        notebook.orbit(untrained(rays=True))


def test_the_viewer_is_a_window_in_the_page(scene):
    pytest.importorskip("nerf_jax.app.viewer", reason="there is no viewer yet")
    window = notebook.viewer(scene, port=18431, height=300)
    try:
        (frame,) = made.Page(window._repr_html_()).all("iframe")
        assert (frame["src"], frame["height"]) == (window.viewer.url, "300")
        with urllib.request.urlopen(frame["src"], timeout=20) as answer:
            assert b"<html" in answer.read().lower()
    finally:
        window.close()


def test_what_the_viewer_needs_is_named(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "nerf_jax.app.viewer", None)
    with pytest.raises(ImportError, match=r"pip install 'nerf_jax\[viewer\]'"):
        notebook.viewer(scene)
