"""Displays in a notebook: the orbit's frames, and the viewer's page."""

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
    for index in range(image.n_frames):
        image.seek(index)
        found.append(np.asarray(image.convert("RGB")))
    return np.stack(found), image


@pytest.fixture(scope="module")
def scene():
    return untrained()


@pytest.mark.slow
def test_an_orbit_shows_the_renderings_of_its_cameras(scene, tmp_path):
    orbit = notebook.orbit(scene, num_frames=3, size=16, seconds=0.375)
    found, image = frames(orbit.gif)
    assert found.shape == (3, 16, 16, 3)
    assert image.info["loop"] == 0
    assert image.info["duration"] in (120, 130)
    path = orbit_path(scene.cameras(), 3)
    for index in range(3):
        rendered = to_uint8(np.asarray(scene.render(path, index, (16, 16)).rgb)).astype(int)
        assert np.abs(found[index] - rendered).mean() < 4
        if index == 0:
            still = np.asarray(Image.open(io.BytesIO(orbit.still)))
            np.testing.assert_array_equal(still, rendered)
    (image,) = made.Page(orbit._repr_html_()).all("img")
    assert image["alt"] == "orbit of small"
    assert base64.b64decode(image["src"].split(",")[1]) == orbit.gif
    assert orbit._repr_png_() == orbit.still
    assert orbit.save(tmp_path / "new" / "orbit.gif").read_bytes() == orbit.gif
    assert len(repr(orbit)) < 60


def test_empty_orbits_and_scenes_without_cameras(scene):
    with pytest.raises(ValueError, match="orbit of 0 frames of 128 pixels is empty"):
        notebook.orbit(scene, num_frames=0)
    with pytest.raises(ValueError, match="trained on a ray dataset, which has no cameras"):
        notebook.orbit(untrained(rays=True))


@pytest.mark.slow
def test_the_viewer_is_a_frame_in_the_page(scene):
    pytest.importorskip("nerf_jax.app.viewer", reason="there is no viewer yet")
    window = notebook.viewer(scene, port=18431, height=300)
    try:
        (frame,) = made.Page(window._repr_html_()).all("iframe")
        assert (frame["src"], frame["height"]) == (window.viewer.url, "300")
        with urllib.request.urlopen(frame["src"], timeout=20) as answer:
            assert b"<html" in answer.read().lower()
    finally:
        window.close()


def test_a_missing_package_of_the_viewer_is_named(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "nerf_jax.app.viewer", None)
    with pytest.raises(ImportError, match=r"pip install 'nerf_jax\[viewer\]'"):
        notebook.viewer(scene)
