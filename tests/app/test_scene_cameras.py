"""A scene's setting: written and read again, and what is told where it is not."""

from pathlib import Path

import jax
import numpy as np
import pytest

from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.data.scene import Scene, Split
from nerf_jax.types import Lens, RayTable
from tests import small


def splits(lens: Lens | None) -> dict[str, Split]:
    data = small.dataset()
    data = data._replace(cameras=data.cameras._replace(lens=lens))
    names = ("a", "b", "ä/c", "d")
    held_out = jax.tree.map(lambda leaf: leaf[:2], data)
    return {"train": Split(data, names), "val": Split(held_out, names[:2])}


BENT = Lens(np.full((4, 4), 0.1), np.full((4, 2), 0.2), np.array([True, False, True, False]))


@pytest.mark.parametrize("lens", [None, BENT])
def test_it_is_read_as_it_was_written(tmp_path, lens):
    scene = Scene("ball", "somewhere", {}, world_from_original=np.diag([2.0, 2, 2, 1]))
    kept = SceneCameras.of(scene, splits(lens))
    kept.save(tmp_path / "setting.npz")
    found = SceneCameras.load(tmp_path / "setting.npz")
    np.testing.assert_array_equal(found.world_from_original, scene.world_from_original)
    assert found.splits.keys() == {"train", "val"}
    assert found.splits["train"].names == ("a", "b", "ä/c", "d")
    assert found.splits["val"].size_hw == (small.SIZE, small.SIZE)
    for split in kept.splits:
        jax.tree.map(
            np.testing.assert_array_equal, found.splits[split].cameras, kept.splits[split].cameras
        )


@pytest.mark.parametrize(
    ("stated", "kept"),
    [([1.0, 2, 3, 5], [1.0, 2, 3, 5]), ([1.0, np.nan, 3, 5], None), (None, None)],
)
def test_exposures_are_kept_if_all_photos_state_them(tmp_path, stated, kept):
    stated = None if stated is None else np.array(stated)
    train = Split(small.dataset(), ("a", "b", "c", "d"), log_exposure=stated)
    SceneCameras.of(Scene("ball", "", {}), {"train": train}).save(tmp_path / "setting.npz")
    found = SceneCameras.load(tmp_path / "setting.npz").splits["train"].log_exposure
    assert (found is None) == (kept is None)
    if kept is not None:
        np.testing.assert_array_equal(found, kept)


def test_rays_without_cameras_are_left_out(tmp_path):
    rays = np.zeros((4, small.SIZE, small.SIZE, 3))
    data = small.dataset()._replace(cameras=RayTable(rays, rays, np.zeros(4), np.ones(4)))
    kept = SceneCameras.of(Scene("ball", "", {}), {"train": Split(data, ("a", "b", "c", "d"))})
    kept.save(tmp_path / "setting.npz")
    assert SceneCameras.load(tmp_path / "setting.npz").splits == {}


def test_one_that_is_missing_or_damaged_says_how_to_get_it(tmp_path):
    path = tmp_path / "setting.npz"
    with pytest.raises(FileNotFoundError, match=r"setting.npz: not there.*--resume` writes it"):
        SceneCameras.load(path)
    SceneCameras.of(Scene("ball", "", {}), splits(None)).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"setting.npz: damaged .* rewrites it"):
        SceneCameras.load(path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("world_from_original", lambda array: array[:3]),
        ("world_from_original", lambda array: array * [1, 1, 0, 1]),
        ("train.names", lambda array: array[:2]),
        ("train.names", lambda array: np.array(7)),
        ("train.size_hw", lambda array: array * 10**9),
        ("train.size_hw", lambda array: -array),
        ("train.focal", lambda array: array[:, 0]),
        ("train.near", lambda array: array.astype(str)),
        ("train.world_from_camera", lambda array: array * np.inf),
        ("val.far", lambda array: array.astype(object)),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_damaged_values_are_one_line(tmp_path, name, damage):
    path = tmp_path / "setting.npz"
    both = {"train": splits(None)["train"], "val": splits(None)["train"]}
    SceneCameras.of(Scene("ball", "", {}), both).save(path)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **(arrays | {name: damage(arrays[name])}))
    with pytest.raises(ValueError, match=r"setting.npz: damaged \(.*$"):
        SceneCameras.load(path)


def test_another_dataset_than_the_runs_is_refused():
    world = np.diag([2.0, 2, 2, 1])
    kept = SceneCameras.of(Scene("ball", "somewhere", {}, world), splits(None))
    again = SceneCameras.of(Scene("ball", "elsewhere", {}, world + 1e-6), splits(None))
    kept.require_same(again, Path("run"))
    moved = SceneCameras.of(Scene("ball", "somewhere", {}, 2 * world), splits(None))
    with pytest.raises(
        ValueError, match=r"run: the world coordinates of this dataset are not the run's"
    ):
        kept.require_same(moved, Path("run"))
    train = splits(None)["train"]
    renamed = {"train": Split(train.dataset, ("b", "a", "c", "d"))}
    with pytest.raises(ValueError, match=r"the train photos .*--data.root and --data.format"):
        kept.require_same(
            SceneCameras.of(Scene("ball", "somewhere", {}, world), renamed), Path("run")
        )
