"""``transforms.json``: this package's loader gives the same rays."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from nerf_jax.app.mesh.cameras import write_cameras
from nerf_jax.app.scene_cameras import SceneCameras, SplitCameras
from nerf_jax.cameras import cast_rays
from nerf_jax.config import DataConfig
from nerf_jax.data import transforms
from nerf_jax.data.normalize import move
from nerf_jax.types import Cameras, Lens
from tests.app.mesh import ball

HEIGHT, WIDTH = 20, 30


def lenses(kind: str, count: int) -> Lens | None:
    rng = np.random.default_rng(1)
    radial = 0.02 * rng.normal(size=(count, 4)).astype(np.float32)
    tangential = 0.003 * rng.normal(size=(count, 2)).astype(np.float32)
    fisheye = np.zeros(count, bool)
    match kind:
        case "pinhole":
            return None
        case "shared":
            return Lens(np.full_like(radial, 0.02), np.full_like(tangential, 0.003), fisheye)
        case "fisheye":
            return Lens(radial, np.zeros_like(tangential), ~fisheye)
        case _:
            some = np.arange(count) % 2 == 0
            return Lens(radial, np.where(some[:, None], 0, tangential), some)


def scene_cameras(kind: str, names: dict[str, tuple[str, ...]]) -> SceneCameras:
    splits = {}
    for seed, (split, own) in enumerate(names.items()):
        rng = np.random.default_rng(seed)
        cameras = ball.cameras(len(own))._replace(
            focal=rng.uniform(25, 30, (len(own), 2)).astype(np.float32),
            principal=rng.uniform(9, 16, (len(own), 2)).astype(np.float32),
            lens=lenses(kind, len(own)),
        )
        splits[split] = SplitCameras(own, cameras, (HEIGHT, WIDTH))
    return SceneCameras(ball.WORLD_FROM_ORIGINAL, splits)


@jax.jit
def cast(cameras: Cameras) -> tuple[jax.Array, jax.Array]:
    pixels = np.indices((WIDTH, HEIGHT)).reshape(2, -1).T[::7]
    every = jax.vmap(jax.vmap(cast_rays, (None, None, 0)), (None, 0, None))
    rays = every(cameras, np.arange(len(cameras.near)), pixels)
    return rays.origin, rays.direction


NAMES = {"train": ("a", "b", "c"), "val": ("d", "e", "f")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pinhole", "shared", "fisheye", "mixed"])
def test_the_loader_gives_the_same_rays(tmp_path, kind):
    given = scene_cameras(kind, NAMES)
    path = tmp_path / "transforms.json"
    write_cameras(path, given, given.splits["train"].cameras, None)
    for name in "abcdef":
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{name}.png")
    scene = transforms.load(path, DataConfig(normalize="none"))
    original_from_world = np.linalg.inv(given.world_from_original)
    for split, names in NAMES.items():
        found = scene.split(split)
        assert found.names == names
        expected = move(original_from_world, given.splits[split].cameras)
        expected = jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == float else x, expected)
        for ours, theirs in zip(cast(found.dataset.cameras), cast(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_refined_poses_replace_the_given_ones(tmp_path):
    given = scene_cameras("pinhole", NAMES)
    learned = given.splits["train"].cameras
    poses = learned.world_from_camera.copy()
    poses[:, :, 3] += 0.25
    path = tmp_path / "transforms.json"
    write_cameras(path, given, learned._replace(world_from_camera=poses), "points.ply")
    file = json.loads(path.read_text())
    origins = np.array([frame["transform_matrix"] for frame in file["frames"]])[:, :3, 3]
    np.testing.assert_allclose(ball.world(origins[:3]), poses[:, :, 3], atol=1e-5)
    assert file["ply_file_path"] == "points.ply"
    assert file["camera_model"] == "PINHOLE"
    # The world's up axis, in the frame of the file.
    up = given.world_from_original[:3, :3] @ np.array(file["up"])
    np.testing.assert_allclose(up, [0, 0, 2.5], atol=1e-9)


def test_fields_that_all_frames_share_are_in_the_file_and_others_in_frames(tmp_path):
    given = scene_cameras("shared", NAMES)
    path = tmp_path / "transforms.json"
    write_cameras(path, given, given.splits["train"].cameras, None)
    file = json.loads(path.read_text())
    assert {"w", "h", "k1", "p2", "camera_model"} <= file.keys()
    assert all({"fl_x", "cx"} <= frame.keys() for frame in file["frames"])
    assert not any({"w", "k1"} & frame.keys() for frame in file["frames"])
    assert "ply_file_path" not in file


def test_names_that_two_splits_share_get_the_split(tmp_path):
    given = scene_cameras("pinhole", {"train": ("r_0", "r_1"), "val": ("r_0",)})
    path = tmp_path / "transforms.json"
    write_cameras(path, given, given.splits["train"].cameras, None)
    file = json.loads(path.read_text())
    assert [frame["file_path"] for frame in file["frames"]] == ["train/r_0", "train/r_1", "val/r_0"]
    assert file["val_filenames"] == ["val/r_0"]
