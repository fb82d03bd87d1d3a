"""From photos to a scene: what goes in, what is picked, what comes out, and every mistake."""

import json
import re
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from nerf_jax import data
from nerf_jax.app import cli, ffmpeg
from nerf_jax.app.prepare import colmap, photos, video
from nerf_jax.cameras import project
from nerf_jax.config import DataConfig
from nerf_jax.types import Cameras, Lens

ORIENTATION, FOCAL_35MM = 0x0112, 0xA405


def run(*arguments: object) -> int:
    return cli.main(["prepare", *map(str, arguments)])


def noise(seed: int, size_hw: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), np.uint8)


def write_photos(folder: Path, count: int = 3) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(noise(number)).save(folder / f"{number}.png")
    return folder


# ---------------------------------------------------------------------------------- photos


def test_photos_that_can_stay_are_linked_and_the_rest_is_written_anew(tmp_path):
    source = tmp_path / "photos"
    source.mkdir()
    Image.fromarray(noise(0)).save(source / "a b.png")
    Image.fromarray(noise(1)).save(source / "c.JPG")
    Image.fromarray(noise(2)).save(source / "d.tiff")
    Image.fromarray(noise(3)).convert("CMYK").save(source / "e.jpg")
    (source / ".hidden.jpg").write_text("not a photo")
    (source / "notes.txt").write_text("nor this")
    found = photos.find(source)
    sizes, skipped = photos.gather(found, tmp_path / "images")
    assert sizes == dict.fromkeys(["a_b.png", "c.JPG", "d.tiff.png", "e.jpg"], (32, 24))
    assert not skipped
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == sorted(sizes)
    for name in ("a b.png", "c.JPG"):
        copy = tmp_path / "images" / name.replace(" ", "_")
        assert copy.read_bytes() == (source / name).read_bytes()
    np.testing.assert_array_equal(Image.open(tmp_path / "images" / "d.tiff.png"), noise(2))
    with Image.open(tmp_path / "images" / "e.jpg") as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_turned_photo_is_written_upright_and_keeps_its_focal_length(tmp_path, suffix):
    source = tmp_path / "photos"
    source.mkdir()
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the camera was held upright: turn by a quarter to the right
    exif.get_ifd(0x8769)[FOCAL_35MM] = 26
    smooth = np.zeros((24, 32, 3), np.uint8)
    smooth[:, :16] = 200  # on the left, so above once upright
    Image.fromarray(smooth).save(source / f"a.{suffix}", exif=exif, quality=95)
    sizes, _ = photos.gather([source / f"a.{suffix}"], tmp_path / "images")
    assert sizes == {f"a.{suffix}": (24, 32)}
    upright = Image.open(tmp_path / "images" / f"a.{suffix}")
    assert upright.getexif().get(ORIENTATION, 1) == 1
    assert upright.getexif().get_ifd(0x8769)[FOCAL_35MM] == 26
    pixels = np.asarray(upright, float)
    assert pixels[:14].mean() > 190
    assert pixels[18:].mean() < 10


def test_an_unreadable_photo_is_named_and_left_out(tmp_path):
    source = write_photos(tmp_path / "photos", 4)
    Image.fromarray(noise(9, (200, 300))).save(source / "cut.jpg")
    (source / "cut.jpg").write_bytes((source / "cut.jpg").read_bytes()[:3000])
    (source / "no.jpg").write_text("this is no photo")
    sizes, skipped = photos.gather(photos.find(source), tmp_path / "images")
    assert len(sizes) == 4
    assert set(skipped) == {"cut.jpg", "no.jpg"}
    assert len(list((tmp_path / "images").iterdir())) == 4


# ----------------------------------------------------------------------------------- video


def test_the_sharpest_frame_of_each_stretch_is_chosen():
    sharpness = np.array([1, 2, 9, 1, 5, 1, 1, 7.0])
    chosen = video.choose(sharpness, np.array([0, 1, 1, 1, 1, 1, 1, 1.0]), 2)
    assert chosen == [2, 7]


def test_no_two_frames_of_a_camera_that_stands_still():
    motion = np.array([0, *[0.0] * 50, *[1.0] * 10, *[0.0] * 50])
    chosen = video.choose(np.ones(111), motion, 10)
    assert len([number for number in chosen if number <= 50]) == 1
    assert len([number for number in chosen if number > 60]) <= 1
    assert len(chosen) >= 9


def test_a_video_without_motion_is_cut_evenly():
    chosen = video.choose(np.ones(100), np.zeros(100), 10)
    assert len(chosen) == 10
    assert set(np.diff(chosen)) <= {9, 10, 11}


def test_short_videos_give_all_their_frames():
    assert video.choose(np.ones(4), np.array([0, 1, 1, 1.0]), 50) == [0, 1, 2, 3]


def pan(count: int = 40) -> list[np.ndarray]:
    """A view over a texture that moves to the right; every fourth frame is sharp."""
    texture = np.kron(np.random.default_rng(0).random((30, 80, 3)), np.ones((6, 6, 1)))
    frames = []
    for number in range(count):
        frame = texture[:120, 4 * number : 4 * number + 160]
        if number % 4:
            frame = (frame + np.roll(frame, 2, 1) + np.roll(frame, 4, 1)) / 3
        frames.append(frame)
    return frames


def test_frames_of_a_video_are_sharp_and_spread(tmp_path, capsys):
    ffmpeg.write_video(tmp_path / "pan.mp4", pan(), fps=20)
    chosen = video.write_frames(tmp_path / "pan.mp4", tmp_path / "images", 10)
    assert 9 <= len(chosen) <= 10
    assert sum(number % 4 == 0 for number in chosen) >= 0.8 * len(chosen)
    assert max(np.diff(chosen)) <= 8
    written = sorted((tmp_path / "images").iterdir())
    assert [path.name for path in written] == [
        f"frame_{number:05d}.jpg" for number in range(1, len(chosen) + 1)
    ]
    for path, number in zip(written, chosen, strict=True):
        shown = np.asarray(Image.open(path)) / 255
        assert np.abs(shown - pan()[number]).mean() < 0.06
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "pan.mp4"]


# ------------------------------------------------------------------------------------ pairs


def test_all_pairs_once():
    assert colmap.pairs("abcd", sequential=False) == [
        *[("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    ]


def test_pairs_of_a_sequence_are_near_or_a_power_of_two_apart():
    found = colmap.pairs([str(number) for number in range(100)], sequential=True)
    assert len(found) == len(set(found))
    steps = {int(other) - int(one) for one, other in found}
    assert steps == {*range(1, 11), 16, 32, 64}
    assert ("5", "69") in found


# -------------------------------------------------------------------------------- the scene


@pytest.fixture(scope="module")
def fox(real_data, tmp_path_factory):
    """Nine photos of the fox at a third of their size, prepared."""
    pytest.importorskip("pycolmap")
    folder = tmp_path_factory.mktemp("fox")
    (folder / "photos").mkdir()
    for path in sorted((real_data / "fox" / "images").iterdir())[:9]:
        Image.open(path).reduce(3).save(folder / "photos" / path.name, quality=95)
    assert run(folder / "photos", "--out", folder / "scene", "--max-features", "2000") == 0
    return folder


def test_a_scene_leaves_everything(fox):
    found = {str(path.relative_to(fox / "scene")) for path in (fox / "scene").rglob("*")}
    assert {
        *{"transforms.json", "sparse_points.ply", "cameras.png", "prepare.json"},
        *{"images/0001.jpg", "colmap/database.db"},
    } <= found
    assert not [name for name in found if "/." in name or name.startswith(".")], "leftovers"
    report = json.loads((fox / "scene" / "prepare.json").read_text())
    assert report["photos"] == 9
    assert report["placed"] >= 7
    assert report["placed"] + len(report["not_placed"]) == 9
    assert set(report["seconds"]) == {"photos", "features", "matching", "placing"}
    assert report["versions"]["pycolmap"]


def test_the_cameras_see_the_points_where_the_photos_do(fox):
    """By this package's projection, in the frame of transforms.json: the error that is stated."""
    pycolmap = pytest.importorskip("pycolmap")
    written = json.loads((fox / "scene" / "transforms.json").read_text())
    assert written["camera_model"] == "OPENCV"
    assert (written["w"], written["h"]) == (360, 640)
    cameras, names = read_cameras(written)
    model = pycolmap.Reconstruction(fox / "scene" / "colmap" / "sparse" / "0")
    numbers, places, truths = [], [], []
    for image in model.images.values():
        for seen in image.points2D:
            if image.has_pose and seen.has_point3D():
                numbers.append(names.index(f"images/{image.name}"))
                places.append(model.points3D[seen.point3D_id].xyz)
                truths.append(seen.xy)
    find = jax.jit(jax.vmap(project, (None, 0, 0)))
    pixels, depth = find(cameras, np.array(numbers), np.array(places, np.float32))
    errors = np.linalg.norm(np.asarray(pixels) - np.array(truths), axis=1)
    assert (depth > 0).all()
    stated = json.loads((fox / "scene" / "prepare.json").read_text())["mean_reprojection_error_px"]
    # Theirs is the mean over points, of their means; ours is over all that is seen.
    assert abs(np.mean(errors) - stated) < 0.2 * stated
    assert stated < 1.5


def test_the_scene_knows_how_far_what_its_photos_show_is(fox):
    """As COLMAP has it, in the unit that the scene is placed in."""
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction(fox / "scene" / "colmap" / "sparse" / "0")
    scene = data.load(DataConfig(root=fox / "scene", hold_out=0))
    split = scene.split("train")
    scale = np.cbrt(np.linalg.det(scene.world_from_original[:3, :3]))
    for image in model.images.values():
        depth = split.depth[split.names.index(Path(image.name).stem)]
        nearest: dict[tuple[int, int], float] = {}
        for seen in image.points2D:
            if seen.has_point3D():
                away = model.points3D[seen.point3D_id].xyz - image.projection_center()
                pixel = int(seen.xy[1]), int(seen.xy[0])
                nearest[pixel] = min(nearest.get(pixel, np.inf), scale * np.linalg.norm(away))
        assert np.count_nonzero(depth) == len(nearest) > 30
        found = [depth[pixel] for pixel in nearest]
        np.testing.assert_allclose(found, list(nearest.values()), rtol=1e-4)


def read_cameras(written) -> tuple[Cameras, list[str]]:
    count = len(written["frames"])
    poses = np.array([frame["transform_matrix"] for frame in written["frames"]], np.float32)
    lens = Lens(
        radial=np.tile(np.float32([written["k1"], written["k2"], 0, 0]), (count, 1)),
        tangential=np.tile(np.float32([written["p1"], written["p2"]]), (count, 1)),
        fisheye=np.zeros(count, np.bool_),
    )
    cameras = Cameras(
        world_from_camera=poses[:, :3],
        focal=np.tile(np.float32([written["fl_x"], written["fl_y"]]), (count, 1)),
        principal=np.tile(np.float32([written["cx"], written["cy"]]), (count, 1)),
        near=np.zeros(count, np.float32),
        far=np.ones(count, np.float32),
        lens=lens,
    )
    return cameras, [frame["file_path"] for frame in written["frames"]]


def test_others_read_the_points(fox):
    pycolmap = pytest.importorskip("pycolmap")
    path = fox / "scene" / "sparse_points.ply"
    report = json.loads((fox / "scene" / "prepare.json").read_text())
    model = pycolmap.Reconstruction()
    model.import_PLY(path)
    assert model.num_points3D() == report["points"] > 100
    places = np.array([point.xyz for point in model.points3D.values()])
    cameras, _ = read_cameras(json.loads((fox / "scene" / "transforms.json").read_text()))
    _, depth = jax.vmap(project, (None, None, 0))(
        cameras, jnp.int32(0), jnp.asarray(places, jnp.float32)
    )
    assert np.mean(np.asarray(depth) > 0) > 0.9
    assert np.ptp([point.color for point in model.points3D.values()]) > 100


def test_the_same_photos_again_go_on(fox, capsys):
    arguments = [fox / "photos", "--out", fox / "scene", "--max-features", "2000"]
    assert run(*arguments) == 0
    out = capsys.readouterr().out
    assert "used again" in out
    assert not re.search("^(features|pairs) ", out, re.MULTILINE)
    assert re.search(r"placed \d of 9 photos, mean reprojection error \d\.\d\d px", out)


def test_a_video_becomes_a_scene(fox, tmp_path, capsys):
    paths = sorted((fox / "photos").iterdir())
    frames = [np.asarray(Image.open(path), np.float32) / 255 for path in paths for _ in range(2)]
    ffmpeg.write_video(tmp_path / "fox.mp4", frames, fps=10)
    arguments = [tmp_path / "fox.mp4", "--out", tmp_path / "scene", "--max-features", "2000"]
    assert run(*arguments, "--frames", "9") == 0
    written = json.loads((tmp_path / "scene" / "transforms.json").read_text())
    assert len(written["frames"]) >= 6
    for frame in written["frames"]:
        assert (tmp_path / "scene" / frame["file_path"]).is_file()
    assert "frame_00001.jpg" in written["frames"][0]["file_path"]


def test_other_photos_or_settings_do_not(fox, tmp_path, capsys):
    assert run(fox / "photos", "--out", fox / "scene") == 1
    assert "was made from other settings" in capsys.readouterr().err
    shutil.copytree(fox / "photos", tmp_path / "fewer")
    (tmp_path / "fewer" / "0001.jpg").unlink()
    arguments = [tmp_path / "fewer", "--out", fox / "scene", "--max-features", "2000"]
    assert run(*arguments) == 1
    assert "was made from other photos" in capsys.readouterr().err


# -------------------------------------------------------------------------------- mistakes


def mistake(capsys, *arguments: object) -> str:
    """The one line that a command ends with."""
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert re.match("error: ", error)
    assert error.count("\n") == 1
    return error


def test_no_photos(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    out = tmp_path / "out"
    assert "nowhere: no such folder or video" in mistake(capsys, tmp_path / "nowhere", "--out", out)
    (tmp_path / "empty").mkdir()
    assert re.search(
        r"empty: no photos \(looked for \*\.jpg, ",
        mistake(capsys, tmp_path / "empty", "--out", out),
    )
    write_photos(tmp_path / "above" / "images")
    assert re.search(
        r"did you mean .*above/images\?", mistake(capsys, tmp_path / "above", "--out", out)
    )
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "a.heic").write_text("")
    assert "1 .heic files: convert them to JPEG" in mistake(
        capsys, tmp_path / "phone", "--out", out
    )
    write_photos(tmp_path / "two", 2)
    assert "2 photo(s), but at least 3 are needed" in mistake(
        capsys, tmp_path / "two", "--out", out
    )
    assert not out.exists(), "a mistake leaves nothing behind"


def test_too_few_readable_photos(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    source = write_photos(tmp_path / "photos", 2)
    (source / "no.jpg").write_text("this is no photo")
    error = mistake(capsys, source, "--out", tmp_path / "out")
    assert "1 of 3 photos could not be read, and 2 are too few" in error


def test_photos_without_anything_in_common(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    source = tmp_path / "photos"
    source.mkdir()
    for number in range(3):
        Image.fromarray(np.full((120, 160, 3), 60 * number, np.uint8)).save(
            source / f"{number}.png"
        )
    error = mistake(capsys, source, "--out", tmp_path / "out")
    assert "0 of 3 photos could be placed: a photo has 0 features" in error
    assert "take sharp photos" in error


def test_an_output_that_is_something_else(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    source = write_photos(tmp_path / "photos")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    assert "mine: exists and is no output of prepare" in mistake(
        capsys, source, "--out", tmp_path / "mine"
    )
    error = mistake(capsys, source, "--out", tmp_path / "mine" / "letter.txt" / "x")
    assert "letter.txt/x: cannot be written to (Not a directory)" in error
    images = write_photos(tmp_path / "scene" / "images")
    error = mistake(capsys, images, "--out", tmp_path / "scene")
    assert "its images/ is the folder of photos" in error


def test_a_video_that_is_none(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    (tmp_path / "film.mp4").write_text("this is no video")
    error = mistake(capsys, tmp_path / "film.mp4", "--out", tmp_path / "out")
    assert re.search(r"film.mp4: ffmpeg cannot read it as a video \(.*\); check that", error)


def test_pycolmap_is_asked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    error = mistake(capsys, write_photos(tmp_path / "photos"), "--out", tmp_path / "out")
    assert "pip install 'nerf_jax[prepare]'" in error
