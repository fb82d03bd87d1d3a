import json
from pathlib import Path

import numpy as np
import pytest

from nerf_jax import data
from nerf_jax.config import DataConfig
from nerf_jax.data import download, transforms
from nerf_jax.types import RayTable


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """An empty working directory, no variable, and no network."""

    def offline(scene, into, **_):
        raise OSError(f"http://host/{scene}.zip: no connection (offline)")

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("NERF_JAX_DATA", raising=False)
    monkeypatch.setattr(download, "fetch", offline)


def _write_rays(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    ray = [0, 0, 0, 0, 0, 2, 0.1, 0.2, 0.3]
    np.savez(path, rays=np.array([ray] * 6, np.float32), size_hw=[2, 3])


def test_the_built_in_scene_needs_no_files():
    for config in (DataConfig(), DataConfig(format="bricks")):
        scene = data.load(config)
        assert scene.name == "bricks"
        assert {"train", "val", "test"} <= set(scene.loaders)


@pytest.mark.parametrize("folder", ["toy", "parent/toy", "parent/nerf_synthetic/toy"])
@pytest.mark.parametrize("form", ["auto", "blender"])
def test_a_root_is_the_scene_or_holds_it(tmp_path, write_scene, folder, form):
    write_scene(tmp_path / folder)
    root = tmp_path / folder.split("/")[0]
    scene = data.load(DataConfig(scene="toy", root=root, format=form))
    assert scene.name == "toy"
    assert scene.source == str(tmp_path / folder)
    assert scene.split("train").dataset.pixels.shape == (3, 4, 6, 4)


def test_a_root_goes_before_the_built_in_scene(tmp_path, write_scene):
    write_scene(tmp_path / "toy")
    assert data.load(DataConfig(root=tmp_path / "toy")).name == "toy"
    assert data.load(DataConfig(scene="lego", root=tmp_path / "toy")).name == "toy"


def test_a_root_may_start_at_home(tmp_path, write_scene, monkeypatch):
    write_scene(tmp_path / "toy")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.load(DataConfig(root=Path("~/toy"))).name == "toy"


@pytest.mark.parametrize("root", ["rays/train.npz", "rays"])
def test_a_root_may_be_a_ray_dataset(tmp_path, root):
    _write_rays(tmp_path / "rays/train.npz")
    for form in ("auto", "rays"):
        split = data.load(DataConfig(root=tmp_path / root, format=form)).split("train")
        assert isinstance(split.dataset.cameras, RayTable)
        assert split.dataset.pixels.shape == (1, 2, 3, 3)


@pytest.mark.parametrize("folder", ["toy", "nerf_synthetic/toy", "toy.npz"])
@pytest.mark.parametrize("place", ["variable", "default"])
def test_the_variable_and_the_default_folder_are_searched(
    tmp_path, write_scene, monkeypatch, place, folder
):
    collection = tmp_path / ("elsewhere" if place == "variable" else "here/data")
    if place == "variable":
        monkeypatch.setenv("NERF_JAX_DATA", str(collection))
    if folder == "toy.npz":
        _write_rays(collection / folder)
    else:
        write_scene(collection / folder)
    assert data.load(DataConfig(scene="toy")).name == "toy"


def test_the_variable_may_name_the_scene_itself(tmp_path, write_scene, monkeypatch):
    write_scene(tmp_path / "toy")
    monkeypatch.setenv("NERF_JAX_DATA", str(tmp_path / "toy"))
    assert data.load(DataConfig(scene="toy")).name == "toy"
    with pytest.raises(FileNotFoundError, match="found no scene 'fox'"):
        data.load(DataConfig(scene="fox"))


def test_the_real_lego_scene_is_found(real_data, monkeypatch):
    if not (real_data / "nerf_synthetic/lego").is_dir():
        pytest.skip(f"the real lego scene is absent from {real_data}")
    monkeypatch.setenv("NERF_JAX_DATA", str(real_data))
    scene = data.load(DataConfig(scene="lego"))
    assert scene.source == str(real_data / "nerf_synthetic/lego")
    assert {"train", "val"} <= set(scene.loaders)


def test_the_variable_goes_before_the_default_folder(tmp_path, write_scene, monkeypatch):
    write_scene(tmp_path / "here/data/toy")
    write_scene(tmp_path / "elsewhere/toy")
    monkeypatch.setenv("NERF_JAX_DATA", str(tmp_path / "elsewhere"))
    assert data.load(DataConfig(scene="toy")).source == str(tmp_path / "elsewhere/toy")


def test_a_known_scene_is_downloaded(write_scene, monkeypatch):
    def fetch(scene, into):
        write_scene(into / scene)
        return into / scene

    monkeypatch.setattr(download, "fetch", fetch)
    scene = data.load(DataConfig(scene="lego"))
    assert (scene.name, scene.source) == ("lego", "data/nerf_synthetic/lego")
    monkeypatch.setattr(download, "fetch", None)
    assert data.load(DataConfig(scene="lego")).source == scene.source


def test_what_is_at_hand_needs_no_download(tmp_path, write_scene, monkeypatch):
    def never(*given, **named):
        raise AssertionError("asked whether it is there, and not to fetch it")

    monkeypatch.setattr(download, "fetch", never)
    assert data.is_local(DataConfig())
    assert not data.is_local(DataConfig(scene="lego"))
    assert not data.is_local(DataConfig(scene="toy", root=tmp_path / "nowhere"))
    write_scene(tmp_path / "toy")
    assert data.is_local(DataConfig(scene="toy", root=tmp_path))


def test_a_failed_download_is_told_with_the_ways_out():
    with pytest.raises(FileNotFoundError) as error:
        data.load(DataConfig(scene="lego"))
    for part in (
        "found no scene 'lego' in data (absent)",
        "lego.zip: no connection (offline)",
        "--data.root DIR",
        "NERF_JAX_DATA",
        f"unzip {download.url('lego')} into data",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


THERE = r"Found there: garden, my_kitchen\."


@pytest.mark.parametrize(
    ("scene", "root", "form", "message"),
    [
        ("leggo", None, "auto", "Did you mean lego"),
        ("kitchen", None, "auto", rf"found no scene 'kitchen' .*{THERE} Did you mean my_kitchen"),
        ("lego", "all", "auto", rf"all is neither a scene, .* the scene 'lego'\. {THERE}"),
        ("bricks", "all", "auto", rf"all is neither a scene, .* the scene 'bricks'\. {THERE}"),
        ("bricks", "absent", "auto", r"absent \(absent\) is neither"),
        ("bricks", "toy", "rays", r"toy: data\.format is 'rays', but .* 'blender'"),
        ("bricks", "a.npz", "blender", r"a\.npz: data\.format is 'blender', but .* 'rays'"),
        ("bricks", "toy", "bricks", r"data\.format 'bricks' is the built-in scene"),
        ("lego", None, "bricks", r"data\.format 'bricks' is the built-in .* 'lego'"),
    ],
)
def test_mistakes_are_named(tmp_path, write_scene, monkeypatch, scene, root, form, message):
    for folder in ("toy", "all/garden", "all/nerf_synthetic/my_kitchen"):
        write_scene(tmp_path / folder)
    _write_rays(tmp_path / "a.npz")
    monkeypatch.setenv("NERF_JAX_DATA", str(tmp_path / "all"))
    with pytest.raises(FileNotFoundError if form == "auto" else ValueError, match=message):
        data.load(DataConfig(scene=scene, root=root and tmp_path / root, format=form))


def write_llff(root):
    """Enough to be found, and to make the scene."""
    (root / "images_8").mkdir(parents=True, exist_ok=True)
    (root / "images_8/a.png").touch()
    pose = [[0, 1, 0, 0, 6], [-1, 0, 0, 0, 8], [0, 0, 1, 0, 9]]
    np.save(root / "poses_bounds.npy", np.array([[*np.ravel(pose), 1, 2]], float))


@pytest.mark.parametrize("folder", ["toy", "nerf_llff_data/toy"])
def test_llff_captures_are_searched_for(tmp_path, monkeypatch, folder):
    write_llff(tmp_path / "elsewhere" / folder)
    monkeypatch.setenv("NERF_JAX_DATA", str(tmp_path / "elsewhere"))
    for form in ("auto", "llff"):
        scene = data.load(DataConfig(scene="toy", format=form))
        assert scene.source == str(tmp_path / "elsewhere" / folder)
    with pytest.raises(FileNotFoundError, match=r"Found there: toy\. Did you mean toy"):
        data.load(DataConfig(scene="toys"))


def test_poses_that_someone_converted_go_first(tmp_path, write_scene):
    root = tmp_path / "toy"
    (root / "sparse/0").mkdir(parents=True)
    assert data.recognize(root) is None
    _write_rays(root / "train.npz")
    assert data.recognize(root) == "rays"
    for name in ("cameras", "images", "points3D"):
        (root / f"sparse/0/{name}.bin").touch()
    assert data.recognize(root) == "colmap"
    write_llff(root)
    assert data.recognize(root) == "llff"
    (root / "transforms.json").touch()
    assert data.recognize(root) == "transforms"
    write_scene(root)
    assert data.recognize(root) == "blender"


def test_a_folder_of_several_formats_is_what_is_asked_for(tmp_path, write_scene):
    write_scene(tmp_path / "toy")
    write_llff(tmp_path / "toy")
    assert list(data.load(DataConfig(root=tmp_path / "toy")).loaders) == ["train", "val"]
    scene = data.load(DataConfig(root=tmp_path / "toy", format="llff", downscale=8))
    assert list(scene.loaders) == ["train"]
    with pytest.raises(ValueError, match=r"toy: data\.format is 'colmap', but .* 'blender'"):
        data.load(DataConfig(root=tmp_path / "toy", format="colmap"))


def test_a_file_of_poses_is_no_ray_dataset(tmp_path):
    write_llff(tmp_path / "toy")
    assert data.recognize(tmp_path / "toy/poses_bounds.npy") == "llff"


def test_the_real_captures_are_found(real_data, monkeypatch):
    monkeypatch.setenv("NERF_JAX_DATA", str(real_data))
    for scene, folder, notes in (("fern", "nerf_llff_data/fern", 2), ("fox", "fox", 2)):
        if not (real_data / folder).is_dir():
            pytest.skip(f"the real {scene} is absent from {real_data}")
        found = data.load(DataConfig(scene=scene, downscale=8))
        assert found.name == scene
        assert found.source.startswith(str(real_data / folder))
        assert list(found.loaders) == ["train", "val"]
        assert len(found.notes) == notes


def test_saved_rays_are_found_again(tmp_path, write_scene):
    write_scene(tmp_path / "toy")
    for name in ("train", "val"):
        split = transforms.load_blender(tmp_path / "toy", DataConfig()).split(name)
        data.save_rays(tmp_path / f"rays/{name}.npz", split, "white")
    scene = data.load(DataConfig(root=tmp_path / "rays"))
    assert list(scene.loaders) == ["train", "val"]
    with pytest.raises(ValueError, match="no split 'test'; this scene has train, val"):
        scene.split("test")


def test_the_first_note_names_the_files_that_are_read_and_the_others(tmp_path, write_scene):
    write_scene(tmp_path / "toy")
    write_llff(tmp_path / "toy")
    files = "transforms_train.json, transforms_val.json"
    note = (
        f"read as blender from {files}; other choices of --data.format: llff from "
        f"poses_bounds.npy, transforms from {files}"
    )
    assert data.load(DataConfig(root=tmp_path / "toy")).notes[0] == note
    file = tmp_path / "toy/transforms_val.json"
    assert (
        data.load(DataConfig(root=file)).notes[0] == "read as transforms from transforms_val.json"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "blender"),
        ({"fl_x": 9.0, "cx": 3.0, "cy": 2.0, "w": 6, "h": 4, "k1": 0.0}, "blender"),
        ({"k1": 0.1}, "transforms"),
        ({"is_fisheye": True, "fl_x": 9.0}, "transforms"),
        ({"camera_angle_x": None, "fl_x": 9.0}, "transforms"),
    ],
)
def test_renderings_are_in_the_world_of_their_files(tmp_path, write_scene, fields, expected):
    """Photographs are normalized; the format of the same files may be chosen."""
    write_scene(tmp_path, ["train"])
    path = tmp_path / "transforms_train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    assert data.recognize(tmp_path) == expected
    for form in ("blender", "transforms"):
        scene = data.load(DataConfig(root=tmp_path, format=form))
        is_original = np.array_equal(scene.world_from_original, np.eye(4))
        assert is_original == (form == "blender")
        near = scene.split("train").dataset.cameras.near[0]
        assert near == pytest.approx(2.0 if form == "blender" else 0.05)


def test_photos_without_cameras_are_to_be_prepared(tmp_path):
    (tmp_path / "scan/keyframes/images").mkdir(parents=True)
    (tmp_path / "scan/keyframes/images/1.jpg").touch()
    message = r"It holds 1 photos without cameras: run\.py prepare .*keyframes/images --output"
    with pytest.raises(FileNotFoundError, match=message):
        data.load(DataConfig(root=tmp_path / "scan"))
