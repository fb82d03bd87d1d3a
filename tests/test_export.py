"""Pictures and videos: right colours, right frames, never half a file."""

import numpy as np
import pytest
from PIL import Image

from nerf_jax import export
from tests import small


def test_png_round_trip(tmp_path):
    image = np.linspace(-0.2, 1.2, 5 * 7 * 3, dtype=np.float32).reshape(5, 7, 3)
    export.write_png(tmp_path / "new" / "a.png", image)
    found = np.asarray(Image.open(tmp_path / "new" / "a.png"))
    np.testing.assert_array_equal(found, np.round(np.clip(image, 0, 1) * 255))


def test_nothing_is_left_half_written(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("whole")

    def fail_midway() -> None:
        with export.written_aside(path) as aside:
            aside.write_text("hal")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_midway()
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_video_frames(tmp_path):
    """Flat frames come back in order, at their colours, odd sizes cut to even."""
    levels = np.linspace(0.1, 0.9, 6, dtype=np.float32)
    frames = [np.full((33, 18, 3), level) for level in levels]
    export.write_video(tmp_path / "a.mp4", frames, fps=10)
    found = small.read_video(tmp_path / "a.mp4")
    assert found.shape == (6, 32, 18, 3)
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)) / 255, levels, atol=0.02)


def test_a_video_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "subprocess.run", lambda *a, **k: type("R", (), {"returncode": 1, "stderr": b"no codec"})
    )
    with pytest.raises(OSError, match=r"a.mp4: the video could not be written: .*no codec"):
        export.write_video(tmp_path / "a.mp4", [np.zeros((4, 4, 3), np.float32)], fps=10)
    assert not list(tmp_path.iterdir())


def test_depth_colours():
    """Near is red, far is blue, and nothing is white: told apart at a glance."""
    depth = np.array([2.0, 4.0, 3.0], np.float32)
    colors = export.color_depth(depth, np.array([1.0, 1.0, 0.0], np.float32), 2.0, 4.0)
    near, far, nothing = colors
    assert near[0] > 2 * near[2]
    assert far[2] > 2 * far[0]
    np.testing.assert_allclose(nothing, 1.0)


def test_depth_range_ignores_what_is_not_there():
    depth = np.concatenate([np.full(1000, 3.0), [np.inf, 0.0], np.linspace(3, 4, 1000)])
    opacity = np.ones_like(depth)
    opacity[1001] = 0.1
    low, high = export.depth_range(depth, opacity)
    assert 2.9 < low < 3.1
    assert 3.9 < high <= 4.0
    assert export.depth_range(depth, 0 * opacity) == (0.0, 1.0)


def test_a_missing_package_is_named_with_its_install_line():
    with pytest.raises(ImportError, match=r"pip install 'nerf_jax\[app\]'"):
        export.require("not_a_package_at_all", "nerf_jax[app]")
