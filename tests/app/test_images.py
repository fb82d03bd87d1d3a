"""Images and videos: their colours and frames, and atomic writing."""

import subprocess
import weakref

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from nerf_jax.app import ffmpeg, images
from nerf_jax.data import files
from tests import small


def test_png_round_trip(tmp_path):
    image = np.linspace(-0.2, 1.2, 5 * 7 * 3, dtype=np.float32).reshape(5, 7, 3)
    images.write_png(tmp_path / "new" / "a.png", image)
    found = np.asarray(Image.open(tmp_path / "new" / "a.png"))
    np.testing.assert_array_equal(found, np.round(np.clip(image, 0, 1) * 255))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("whole")

    def fail_midway() -> None:
        with files.atomic_write(path) as aside:
            aside.write_text("hal")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_midway()
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_video_frames(tmp_path):
    """Constant frames keep their order and colours; odd sizes are cut to even ones."""
    levels = np.linspace(0.1, 0.9, 6, dtype=np.float32)
    frames = [np.full((33, 18, 3), level) for level in levels]
    ffmpeg.write_video(tmp_path / "a.mp4", frames, fps=10)
    found = small.read_video(tmp_path / "a.mp4")
    assert found.shape == (6, 32, 18, 3)
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)) / 255, levels, atol=0.02)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_video_is_written_with_one_frame_in_memory(tmp_path, name):
    alive: set[int] = set()
    most = 0

    def frames():
        nonlocal most
        for number in range(12):
            frame = np.full((16, 16, 3), number / 12)
            alive.add(number)
            weakref.finalize(frame, alive.remove, number)
            most = max(most, len(alive))
            yield frame

    ffmpeg.write_video(tmp_path / name, frames(), fps=10)
    assert 1 <= most <= 3


def test_gif_frames(tmp_path):
    """Frames have different colours: one palette of 256 could not hold them."""
    rng = np.random.default_rng(0)
    frames = [np.stack([np.full((9, 25), level), *rng.random((2, 9, 25))], 2) for level in (0, 1)]
    ffmpeg.write_video(tmp_path / "a.gif", iter([*frames, frames[1]]), fps=4)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, (25, 9), 0)
        for number, frame in enumerate([*frames, frames[1]]):
            gif.seek(number)
            assert gif.info["duration"] == 250
            found = np.asarray(gif.convert("RGB")) / 255
            assert np.abs(found - frame).mean() < 0.02


def test_equal_frames_keep_their_duration(tmp_path):
    """Encoders may merge equal frames; the animation must not become shorter."""
    ffmpeg.write_video(tmp_path / "a.gif", [np.full((8, 8, 3), 0.35)] * 4, fps=10)
    with Image.open(tmp_path / "a.gif") as gif:
        total = 0
        for index in range(gif.n_frames):
            gif.seek(index)
            total += gif.info["duration"]
    assert total == 400


def test_a_failed_encoder_leaves_no_file(tmp_path):
    """ffmpeg fails before it has read all frames."""
    frames = [np.zeros((512, 512, 3), np.float32)] * 20
    with pytest.raises(OSError, match=r"a.mp5: the video could not be written: .*output format"):
        ffmpeg.write_video(tmp_path / "a.mp5", frames, fps=10)
    assert not list(tmp_path.iterdir())


def test_a_failed_frame_stops_the_video(tmp_path):
    def frames():
        yield np.zeros((16, 16, 3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ffmpeg.write_video(tmp_path / "a.mp4", frames(), fps=10)
    assert not list(tmp_path.iterdir())


def test_no_ffmpeg(monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    with pytest.raises(OSError, match="no ffmpeg at /nowhere/ffmpeg: correct or unset IMAGEIO"):
        ffmpeg.ffmpeg()
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    monkeypatch.setattr("imageio_ffmpeg._utils._get_ffmpeg_exe", lambda: None)
    with pytest.raises(OSError, match="No ffmpeg exe could be found"):
        ffmpeg.ffmpeg()


@pytest.mark.parametrize("channels", [(), (3,)])
def test_sixteen_bits(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 2**16, (5, 7, *channels)).astype(np.uint16)
    images.write_png16(tmp_path / "new" / "a.png", values)
    form = "rgb48le" if channels else "gray16le"
    command = ["-i", str(tmp_path / "new" / "a.png"), "-f", "rawvideo", "-pix_fmt", form, "-"]
    command = [ffmpeg.ffmpeg(), "-loglevel", "error", *command]
    read = subprocess.run(command, capture_output=True, check=True).stdout
    np.testing.assert_array_equal(np.frombuffer(read, "<u2").reshape(values.shape), values)
    with Image.open(tmp_path / "new" / "a.png") as image:
        image.verify()  # its checksums too


def test_exr_channels(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    images.write_exr(tmp_path / "new" / "a.exr", {"Z": values[0], "N.X": values[1]})
    with OpenEXR.File(str(tmp_path / "new" / "a.exr")) as file:
        found = {name: channel.pixels for name, channel in file.channels().items()}
    np.testing.assert_array_equal(found["Z"], values[0])
    np.testing.assert_array_equal(found["N.X"], values[1])


def test_depth_colours():
    """Near is red, far is blue, and the background is white."""
    depth = np.array([2.0, 4.0, 3.0], np.float32)
    colors = images.color_depth(depth, np.array([1.0, 1.0, 0.0], np.float32), 2.0, 4.0)
    near, far, background = colors
    assert near[0] > 2 * near[2]
    assert far[2] > 2 * far[0]
    np.testing.assert_allclose(background, 1.0)


def test_depth_range_ignores_the_background():
    depth = np.concatenate([np.full(1000, 3.0), [np.inf, 0.0], np.linspace(3, 4, 1000)])
    opacity = np.ones_like(depth)
    opacity[1001] = 0.1
    low, high = images.depth_range(depth, opacity)
    assert 2.9 < low < 3.1
    assert 3.9 < high <= 4.0
    assert images.depth_range(depth, 0 * opacity) == (0.0, 1.0)


def test_a_missing_package_is_named_with_its_install_line():
    with pytest.raises(ImportError, match=r"pip install 'nerf_jax\[app\]'"):
        files.optional_import("not_a_package_at_all", "nerf_jax[app]")
