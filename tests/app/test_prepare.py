"""Prepared scenes: photos, chosen frames, pairs, the files written, and every error."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from nerf_jax import data
from nerf_jax.app import cli, ffmpeg
from nerf_jax.app.prepare import colmap, diagnosis, photos, video
from nerf_jax.cameras import project
from nerf_jax.config import DataConfig
from nerf_jax.data import transforms
from nerf_jax.data.images import read_image

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


def test_usable_photos_are_linked_and_the_others_converted(tmp_path):
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


def test_photos_are_converted_to_the_pixels_that_training_reads(tmp_path):
    """16 bits of grey are scaled, and names of 255 bytes leave room for more."""
    source = tmp_path / "photos"
    source.mkdir()
    deep = (np.arange(32 * 24).reshape(24, 32) * 80).astype(np.uint16)
    names = ["deep.png", "deep.tif", f"{'x' * 250}.webp", "alpha.bmp", "in fact.jpg"]
    for name in names[:3]:
        Image.fromarray(deep if "deep" in name else noise(0)).save(source / name)
    Image.fromarray(noise(1)).save(source / names[3])
    Image.fromarray(np.dstack([noise(2), noise(3)[..., :1]])).save(source / names[4], "PNG")
    sizes, skipped = photos.gather([source / name for name in names], tmp_path / "images")
    assert not skipped
    expected = [
        "deep.png",
        "deep.tif.png",
        sizes and list(sizes)[2],
        "alpha.bmp.png",
        "in_fact.jpg.png",
    ]
    assert list(sizes) == expected
    assert len(expected[2]) <= 200
    for name, target in zip(names, sizes, strict=True):
        np.testing.assert_array_equal(
            read_image(tmp_path / "images" / target), read_image(source / name)
        )


def test_photos_are_in_natural_order(tmp_path):
    source = write_photos(tmp_path / "photos", 12)
    assert [path.stem for path in photos.find(source)] == [str(number) for number in range(12)]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_rotated_photo_is_written_upright_and_keeps_its_focal_length(tmp_path, suffix):
    source = tmp_path / "photos"
    source.mkdir()
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # rotate by 90 degrees clockwise
    exif.get_ifd(0x8769)[FOCAL_35MM] = 26
    smooth = np.zeros((24, 32, 3), np.uint8)
    smooth[:, :16] = 200  # on the left, so at the top once upright
    Image.fromarray(smooth).save(source / f"a.{suffix}", exif=exif, quality=95)
    sizes, _ = photos.gather([source / f"a.{suffix}"], tmp_path / "images")
    assert sizes == {f"a.{suffix}": (24, 32)}
    upright = Image.open(tmp_path / "images" / f"a.{suffix}")
    assert upright.getexif().get(ORIENTATION, 1) == 1
    assert upright.getexif().get_ifd(0x8769)[FOCAL_35MM] == 26
    pixels = np.asarray(upright, float)
    assert pixels[:14].mean() > 190
    assert pixels[18:].mean() < 10


def test_an_unreadable_photo_is_named_and_skipped(tmp_path):
    source = write_photos(tmp_path / "photos", 4)
    Image.fromarray(noise(9, (200, 300))).save(source / "cut.jpg")
    (source / "cut.jpg").write_bytes((source / "cut.jpg").read_bytes()[:3000])
    (source / "no.jpg").write_text("this is no photo")
    sizes, skipped = photos.gather(photos.find(source), tmp_path / "images")
    assert len(sizes) == 4
    assert set(skipped) == {"cut.jpg", "no.jpg"}
    assert len(list((tmp_path / "images").iterdir())) == 4


# ----------------------------------------------------------------------------------- video


def test_the_sharpest_frame_of_each_interval_is_chosen():
    sharpness = np.array([1, 2, 9, 1, 5, 1, 1, 7.0])
    chosen = video.choose(sharpness, np.array([0, 1, 1, 1, 1, 1, 1, 1.0]), 2)
    assert chosen == [2, 7]


def test_a_static_camera_gives_one_frame():
    motion = np.array([0, *[0.0] * 50, *[1.0] * 10, *[0.0] * 50])
    chosen = video.choose(np.ones(111), motion, 10)
    assert len([number for number in chosen if number <= 50]) == 1
    assert len([number for number in chosen if number > 60]) <= 1
    assert len(chosen) >= 9


def test_without_motion_frames_are_evenly_spaced():
    chosen = video.choose(np.ones(100), np.zeros(100), 10)
    assert len(chosen) == 10
    assert set(np.diff(chosen)) <= {9, 10, 11}


def test_short_videos_give_all_their_frames():
    assert video.choose(np.ones(4), np.array([0, 1, 1, 1.0]), 50) == [0, 1, 2, 3]


def pan(count: int = 40) -> list[np.ndarray]:
    """A view that moves right over a texture; every fourth frame is sharp."""
    texture = np.kron(np.random.default_rng(0).random((30, 80, 3)), np.ones((6, 6, 1)))
    frames = []
    for number in range(count):
        frame = texture[:120, 4 * number : 4 * number + 160]
        if number % 4:
            frame = (frame + np.roll(frame, 2, 1) + np.roll(frame, 4, 1)) / 3
        frames.append(frame)
    return frames


def test_frames_of_a_video_are_sharp_and_spread(tmp_path, monkeypatch):
    ffmpeg.write_video(tmp_path / "at 12:30.mp4", pan(), fps=20)
    monkeypatch.chdir(tmp_path)
    chosen = video.write_frames(Path("at 12:30.mp4"), Path("100%d/images"), 10)
    assert 9 <= len(chosen) <= 10
    assert sum(number % 4 == 0 for number in chosen) >= 0.8 * len(chosen)
    assert max(np.diff(chosen)) <= 8
    written = sorted((tmp_path / "100%d/images").iterdir())
    assert [path.name for path in written] == [
        f"frame_{number:05d}.jpg" for number in range(1, len(chosen) + 1)
    ]
    for path, number in zip(written, chosen, strict=True):
        shown = np.asarray(Image.open(path)) / 255
        assert np.abs(shown - pan()[number]).mean() < 0.06
    assert [path.name for path in (tmp_path / "100%d").iterdir()] == ["images"]


@pytest.mark.parametrize("count", [1, 2, 120, 1001])
def test_any_number_of_frames_is_selected(tmp_path, monkeypatch, count):
    """ffmpeg's expressions are limited in depth, and commands in length."""
    still = np.kron(np.eye(2), np.ones((8, 8)))[..., None] * np.ones(3)
    ffmpeg.write_video(tmp_path / "still.mp4", [still] * (count + 1), fps=20)
    monkeypatch.setattr(video, "_MAX_SELECTED", 400)
    video._extract(tmp_path / "still.mp4", tmp_path / "images", list(range(1, count + 1)))
    names = [path.name for path in sorted((tmp_path / "images").iterdir())]
    assert names == [f"frame_{number:05d}.jpg" for number in range(1, count + 1)]


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


def test_photos_of_one_size_share_a_camera_unless_their_focal_lengths_differ(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    for name, focal in zip(names, [26, 13, 26, None], strict=True):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[FOCAL_35MM] = focal
        extra = {"exif": exif} if focal else {}
        Image.fromarray(noise(0, (48, 64))).save(tmp_path / name, **extra)
    sizes = dict.fromkeys(names, (64, 48))
    colmap.extract_features(tmp_path / "database.db", tmp_path, sizes, 100, 100)
    database = pycolmap.Database.open(tmp_path / "database.db")
    cameras = {image.name: image.camera_id for image in database.read_all_images()}
    database.close()
    assert cameras["a.jpg"] == cameras["c.jpg"]
    assert len(set(cameras.values())) == 3


def test_guided_matching_finds_more_matches_and_leaves_the_others(tmp_path, capsys):
    """Two views of a random texture, shifted."""
    pytest.importorskip("pycolmap")
    texture = np.kron(noise(0, (60, 90)), np.ones((5, 5, 1), np.uint8))
    names = ["a.png", "b.png"]
    for name, shift in zip(names, (0, 30), strict=True):
        Image.fromarray(texture[:, shift : shift + 360]).save(tmp_path / name)
    path = tmp_path / "database.db"
    colmap.extract_features(path, tmp_path, dict.fromkeys(names, (360, 300)), 400, 500)
    colmap.match(path, [("a.png", "b.png")])
    before = colmap.matches(path)
    assert list(before) == [("a.png", "b.png")]
    guided = colmap.matches(colmap.match_guided(path, {"a.png"}))
    assert guided["a.png", "b.png"] > before["a.png", "b.png"]
    assert colmap.matches(path) == before
    assert "guided pairs 1/1" in capsys.readouterr().out
    colmap.match_guided(path, {"a.png"})
    assert "guided pairs" not in capsys.readouterr().out, "its matches are used again"


# --------------------------------------------------------------------------------- attempts


class Model:
    """The part of a ``pycolmap.Reconstruction`` by which attempts are compared."""

    def __init__(self, photos: int, error: float = 1.0) -> None:
        self.photos, self.error = photos, error
        self.cameras: dict[int, object] = {}
        self.images = {key: SimpleNamespace(name=f"{key}.png") for key in range(photos)}

    def num_reg_images(self) -> int:
        return self.photos

    def reg_image_ids(self) -> list[int]:
        return list(self.images)

    def compute_mean_reprojection_error(self) -> float:
        return self.error


@pytest.mark.parametrize(
    ("found", "linked", "tried", "best"),
    [
        ([[Model(25)]], 25, [16], 25),
        ([[Model(23)], [Model(25)]], 25, [16, "guided"], 25),
        ([[Model(20)]], 20, [16], 20),  # five photos match no other: no attempt places them
        ([[Model(19)], [Model(19, 2.0)]], 20, [16, "guided"], 19),
        ([[], [Model(25)]], 25, [16, 4], 25),
        ([[Model(2)], [Model(3), Model(25)]], 25, [16, 4], 25),
        ([[Model(9)], [], [Model(25)]], 25, [16, 4, "guided"], 25),
        ([[Model(9)], [Model(12)], [Model(11)]], 25, [16, 4, "guided"], 12),
        ([[Model(2)], [], []], 25, [16, 4, "guided"], None),
        ([], 2, [], None),
    ],
)
def test_attempts_are_made_until_nearly_all_photos_are_placed(
    tmp_path, monkeypatch, capsys, found, linked, tried, best
):
    pycolmap = pytest.importorskip("pycolmap")
    made: list[object] = []

    def attempt(database: Path, images: Path, out: Path, options, **_: object) -> dict[int, Model]:
        guided = database.name == "guided.db"
        made.append("guided" if guided else options.mapper.init_min_tri_angle)
        return dict(enumerate(found[len(made) - 1]))

    monkeypatch.setattr(pycolmap, "incremental_mapping", attempt)
    monkeypatch.setattr(colmap, "match_guided", lambda path, _: path.with_name("guided.db"))
    _, models = colmap.reconstruct(tmp_path / "database.db", tmp_path, 25, linked)
    assert made == tried
    assert [model.num_reg_images() for model in models[:1]] == [best] * bool(best)
    assert capsys.readouterr().out.count("trying again: ") == max(len(tried) - 1, 0)


def test_of_attempts_with_as_many_photos_the_one_with_the_lower_error_is_chosen(
    tmp_path, monkeypatch
):
    pytest.importorskip("pycolmap")
    models = [Model(9, 0.9), Model(9, 0.5), Model(9, 0.7)]
    attempts = iter(models)
    monkeypatch.setattr(colmap, "_incremental", lambda *_, **__: {0: next(attempts)})
    monkeypatch.setattr(colmap, "match_guided", lambda path, _: path)
    name, best = colmap.reconstruct(tmp_path / "database.db", tmp_path, 25, 25)
    assert (name, best) == ("incremental mapping from a smaller angle", [models[1]])


def synthetic(monkeypatch, counts: tuple[int, ...]) -> list[str]:
    """Let ``prepare`` find the matches of that many photos of each of several exact scenes."""
    pycolmap = pytest.importorskip("pycolmap")
    names = [
        f"camera{scene:06d}_frame{frame:06d}.png"
        for scene, count in enumerate(counts, 1)
        for frame in range(count)
    ]

    def extract(path: Path, *_: object) -> None:
        database = pycolmap.Database.open(path)
        for seed, count in enumerate(counts):
            pycolmap.set_random_seed(seed)
            options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_frames_per_rig=count)
            options.camera_width, options.camera_height = 640, 480
            options.camera_params = [700, 320, 240, 0.05]
            options.num_points3D = 200
            pycolmap.synthesize_dataset(options, database)
        database.close()

    monkeypatch.setattr(colmap, "extract_features", extract)
    monkeypatch.setattr(colmap, "match", lambda *_: None)
    return names


def write_named(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for name in names:
        Image.fromarray(noise(0)).save(folder / name)
    return folder


def test_the_cameras_of_an_exact_scene_are_found(tmp_path, monkeypatch):
    names = synthetic(monkeypatch, (6,))
    assert run(write_named(tmp_path / "photos", names), "--output", tmp_path / "scene") == 0
    report = json.loads((tmp_path / "scene" / "prepare.json").read_text())
    assert report["attempt"] == "incremental mapping"
    assert report["placed"] == 6
    assert report["other_models"] == report["unmatched"] == report["advice"] == []
    written = json.loads((tmp_path / "scene" / "transforms.json").read_text())
    assert written["camera_model"] == "OPENCV"
    np.testing.assert_allclose([written["fl_x"], written["fl_y"]], 700, rtol=1e-3)
    assert abs(written["k1"] - 0.05) < 1e-3
    assert max(abs(written[name]) for name in ("k2", "p1", "p2")) < 1e-2


def test_models_that_cannot_be_joined_are_named(tmp_path, monkeypatch, capsys):
    names = synthetic(monkeypatch, (6, 4))
    source = write_named(tmp_path / "photos", [*names, "cat.png", "dog.png"])
    assert run(source, "--output", tmp_path / "scene") == 0
    report = json.loads((tmp_path / "scene" / "prepare.json").read_text())
    first, second = names[:6], names[6:]
    assert report["placed"] == 6
    assert sorted(report["not_placed"]) == [*second, "cat.png", "dog.png"]
    assert report["other_models"] == [second]
    assert report["unmatched"] == ["cat.png", "dog.png"]
    apart, unmatched = report["advice"]
    assert apart == (
        f"{first[0]} to {first[-1]} and {second[0]} to {second[-1]} were placed apart: take photos "
        "from between"
    )
    assert unmatched.startswith("cat.png to dog.png: no match with the other photos")
    out = capsys.readouterr().out
    assert apart in out
    assert unmatched in out
    assert "trying again" not in out, "no attempt can join photos without matches"
    assert report["attempt"] == "incremental mapping"


def test_photos_that_determine_no_lens_keep_the_simple_one(monkeypatch):
    """Two terms that the photos do not determine would follow their noise."""
    pycolmap = pytest.importorskip("pycolmap")
    pycolmap.set_random_seed(0)
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_frames_per_rig=3)
    model = pycolmap.synthesize_dataset(options)
    solved = []

    class Adjuster:
        def __init__(self, options, config, refined) -> None:
            self.model = refined

        def solve(self) -> None:
            solved.append(self.model)
            for camera in self.model.cameras.values():
                camera.params = [*(camera.params[:1] * 1.2), *camera.params[1:]]

    monkeypatch.setattr(pycolmap, "create_default_bundle_adjuster", Adjuster)
    kept = colmap._refined(model)
    assert len(solved) == 1
    (camera,) = kept.cameras.values()
    assert camera.model_name == "OPENCV"
    np.testing.assert_allclose(camera.params, [1280, 1280, 512, 384, 0.05, 0, 0, 0])


# -------------------------------------------------------------------------------- diagnosis


def test_photos_are_grouped_by_matches():
    assert diagnosis.groups("abcdef", [("c", "d"), ("d", "a"), ("b", "f")]) == [
        *[["a", "c", "d"], ["b", "f"], ["e"]]
    ]


def test_consecutive_photos_are_a_range():
    assert diagnosis.ranges({"a", "b", "c", "e", "g", "h"}, "abcdefgh") == "a to c, e, g to h"


def test_the_missing_link_is_named():
    matches = {("a", "b"): 90, ("c", "a"): 40, ("b", "c"): 25, ("d", "e"): 50}
    few, none = diagnosis.missing_links("abcde", [["a", "b"]], matches)
    assert few.startswith("c: at most 40 matches with a placed photo, between c and a: take")
    assert none.startswith("d to e: no match with the other photos")
    assert diagnosis.missing_links("abcde", ["abcde"], matches) == []
    assert diagnosis.missing_links("abcde", ["abcde", ""], matches) == [], "part of the first"


def test_groups_without_a_link_are_named_if_no_photo_is_placed(tmp_path, monkeypatch, capsys):
    names = synthetic(monkeypatch, (6, 4))
    monkeypatch.setattr(colmap, "_incremental", lambda *_, **__: {})
    monkeypatch.setattr(colmap, "match_guided", lambda path, _: path)
    error = error_of(
        capsys, write_named(tmp_path / "photos", names), "--output", tmp_path / "scene"
    )
    assert "0 of 10 photos could be placed: a photo has" in error
    assert f"{names[6]} to {names[9]}: no match with the other photos" in error


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


@pytest.mark.slow
def test_all_files_are_written(fox):
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


@pytest.mark.slow
def test_points_project_onto_their_features(fox):
    """With this package's projection, the reprojection error is the one in prepare.json."""
    pycolmap = pytest.importorskip("pycolmap")
    written = json.loads((fox / "scene" / "transforms.json").read_text())
    assert written["camera_model"] == "OPENCV"
    assert (written["w"], written["h"]) == (360, 640)
    capture = transforms.read(fox / "scene")
    names = [path.name for path in capture.photos]
    model = pycolmap.Reconstruction(fox / "scene" / "colmap" / "sparse" / "0")
    indices, positions, truths = [], [], []
    for image in model.images.values():
        for seen in image.points2D:
            if image.has_pose and seen.has_point3D():
                indices.append(names.index(image.name))
                positions.append(model.points3D[seen.point3D_id].xyz)
                truths.append(seen.xy)
    find = jax.jit(jax.vmap(project, (None, 0, 0)))
    pixels, depth = find(capture.cameras, np.array(indices), np.array(positions, np.float32))
    errors = np.linalg.norm(np.asarray(pixels) - np.array(truths), axis=1)
    assert (depth > 0).all()
    stated = json.loads((fox / "scene" / "prepare.json").read_text())["mean_reprojection_error_px"]
    # COLMAP averages over points, of the mean over each point's observations.
    assert abs(np.mean(errors) - stated) < 0.2 * stated
    assert stated < 1.5


@pytest.mark.slow
def test_the_scene_has_the_depths_of_the_sparse_points(fox):
    """Distances in COLMAP's model, scaled to the world."""
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


@pytest.mark.slow
def test_colmap_reads_the_points(fox):
    pycolmap = pytest.importorskip("pycolmap")
    path = fox / "scene" / "sparse_points.ply"
    report = json.loads((fox / "scene" / "prepare.json").read_text())
    model = pycolmap.Reconstruction()
    model.import_PLY(path)
    assert model.num_points3D() == report["points"] > 100
    positions = jnp.array([point.xyz for point in model.points3D.values()], jnp.float32)
    cameras = transforms.read(fox / "scene").cameras
    _, depth = jax.vmap(project, (None, None, 0))(cameras, jnp.int32(0), positions)
    assert np.mean(np.asarray(depth) > 0) > 0.9
    assert np.ptp([point.color for point in model.points3D.values()]) > 100


@pytest.mark.slow
def test_the_same_photos_again_use_the_database(fox, capsys):
    arguments = [fox / "photos", "--out", fox / "scene", "--max-features", "2000"]
    assert run(*arguments) == 0
    out = capsys.readouterr().out
    assert "used again" in out
    assert not re.search("^(features|pairs) ", out, re.MULTILINE)
    assert re.search(r"placed \d of 9 photos, mean reprojection error \d\.\d\d px", out)


@pytest.mark.slow
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


@pytest.mark.slow
def test_photos_from_one_side_are_placed(real_data, tmp_path):
    """At COLMAP's default angle between the first two photos, 2 of the 25 are."""
    pytest.importorskip("pycolmap")
    (tmp_path / "photos").mkdir()
    for path in sorted((real_data / "llff_flower").iterdir()):
        Image.open(path).reduce(2).save(tmp_path / "photos" / path.name)
    arguments = [tmp_path / "photos", "--output", tmp_path / "scene", "--max-features", "1000"]
    assert run(*arguments) == 0
    report = json.loads((tmp_path / "scene" / "prepare.json").read_text())
    assert report["placed"] >= 24
    assert report["attempt"] != "incremental mapping"
    assert report["mean_reprojection_error_px"] < 1


@pytest.mark.slow
def test_the_same_matches_give_the_same_geometry(fox, tmp_path):
    """The matches are kept: COLMAP loses some of a pair now and then, on a busy machine."""
    known = colmap.matches(fox / "scene" / "colmap" / "database.db")
    again = tmp_path / "database.db"
    shutil.copyfile(fox / "scene" / "colmap" / "database.db", again)
    with colmap._opened(again) as database:
        database.clear_two_view_geometries()
    assert colmap.matches(again) == {}
    colmap.match(again, known)
    assert colmap.matches(again) == known


@pytest.mark.slow
def test_other_photos_or_settings_are_refused(fox, tmp_path, capsys):
    assert run(fox / "photos", "--out", fox / "scene") == 1
    assert "was made from other settings" in capsys.readouterr().err
    shutil.copytree(fox / "photos", tmp_path / "fewer")
    (tmp_path / "fewer" / "0001.jpg").unlink()
    arguments = [tmp_path / "fewer", "--out", fox / "scene", "--max-features", "2000"]
    assert run(*arguments) == 1
    assert "was made from other photos" in capsys.readouterr().err


# ---------------------------------------------------------------------------------- errors


def error_of(capsys, *arguments: object) -> str:
    """The single line of the error that a command ends with."""
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert re.match("error: ", error)
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("nowhere", lambda folder: None, "nowhere: no such folder or video"),
        ("empty", Path.mkdir, r"empty: no photos \(looked for \*\.png, "),
        (
            "above",
            lambda folder: write_photos(folder / "images"),
            r"skipped 3 photos in images/: .* or pass .*above/images",
        ),
        (
            "phone",
            lambda folder: write_photos(folder, 0).joinpath("a.heic").touch(),
            r"skipped 1 .heic files: pip install 'nerf_jax\[heic\]' reads them",
        ),
        (
            "two",
            lambda folder: write_photos(folder, 2),
            r"2 photos \(.*\), but at least 3",
        ),
    ],
)
@pytest.mark.usefixtures("no_heif")
def test_no_photos(tmp_path, capsys, name, make, expected):
    pytest.importorskip("pycolmap")
    make(tmp_path / name)
    assert re.search(expected, error_of(capsys, tmp_path / name, "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists(), "an error leaves nothing behind"


def test_too_few_readable_photos(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    source = write_photos(tmp_path / "photos", 2)
    (source / "no.jpg").write_text("this is no photo")
    error = error_of(capsys, source, "--out", tmp_path / "out")
    assert "1 of 3 photos could not be read, and 2 are too few" in error


def test_photos_without_overlap(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    source = tmp_path / "photos"
    source.mkdir()
    for index in range(3):
        blank = np.full((120, 160, 3), 60 * index, np.uint8)
        Image.fromarray(blank).save(source / f"{index}.png")
    error = error_of(capsys, source, "--out", tmp_path / "out")
    assert "0 of 3 photos could be placed: a photo has 0 features" in error
    assert "take sharp photos" in error


def test_an_output_folder_of_something_else(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    source = write_photos(tmp_path / "photos")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    assert "mine: exists and is no output of prepare" in error_of(
        capsys, source, "--out", tmp_path / "mine"
    )
    error = error_of(capsys, source, "--out", tmp_path / "mine" / "letter.txt" / "x")
    assert "letter.txt/x: cannot be written to (Not a directory)" in error
    images = write_photos(tmp_path / "scene" / "images")
    error = error_of(capsys, images, "--out", tmp_path / "scene")
    assert "its images/ is the folder of photos" in error


def test_a_file_that_is_no_video(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    (tmp_path / "movie.mp4").write_text("this is no video")
    error = error_of(capsys, tmp_path / "movie.mp4", "--out", tmp_path / "out")
    assert re.search(r"movie.mp4: ffmpeg cannot read it as a video \(.*\); check that", error)


def test_missing_pycolmap_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    error = error_of(capsys, write_photos(tmp_path / "photos"), "--out", tmp_path / "out")
    assert "pip install 'nerf_jax[prepare]'" in error
