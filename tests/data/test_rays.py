import pickle
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest

from nerf_jax.cameras import cast_rays
from nerf_jax.config import DataConfig
from nerf_jax.data import rays, transforms
from nerf_jax.data.scene import Split
from nerf_jax.types import Dataset, RayTable


def _table(count):
    """N x 9 random rays, their directions of any length."""
    random = np.random.default_rng(3)
    return np.hstack(
        [random.normal(size=(count, 6)), random.uniform(size=(count, 3))],
    )


def _cast_all(dataset):
    """Origins, directions and bounds of all rays, [N, H, W, ...]."""
    count, height, width = dataset.pixels.shape[:3]
    image, row, column = np.indices((count, height, width))
    cast = cast_rays
    for axes in ((None, 0, 0),) * 3:
        cast = jax.vmap(cast, in_axes=axes)
    return cast(jax.device_put(dataset.cameras), image, np.stack([column, row], axis=-1))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("background", ["white", "black"])
def test_saved_rays_are_those_of_the_cameras(tmp_path, write_scene, background, channels):
    write_scene(tmp_path / "toy", channels=channels)
    split = transforms.load_blender(tmp_path / "toy", DataConfig(near=1, far=3)).split("train")
    rays.save(tmp_path / "new" / "train.npz", split, background)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["train.npz"]

    again = rays.load(tmp_path / "new", DataConfig()).split("train")
    assert again.names == ("train_0", "train_1", "train_2")
    assert isinstance(again.dataset.cameras, RayTable)
    assert again.dataset.pixels.dtype == np.float32
    cast, cast_again = _cast_all(split.dataset), _cast_all(again.dataset)
    for left, right in zip(cast, cast_again._replace(radius=cast.radius), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
    # A table's cones are told from the neighbours' directions, and these are far apart.
    np.testing.assert_allclose(cast.radius, cast_again.radius, rtol=0.05)
    pixels = split.dataset.pixels / 255
    if channels == 4:
        alpha = pixels[..., 3:]
        pixels = pixels[..., :3] * alpha + (background == "white") * (1 - alpha)
    np.testing.assert_allclose(again.dataset.pixels, pixels, atol=1e-6)


def test_a_ray_table_is_saved_as_it_was_loaded(tmp_path):
    near_far = np.array([[1, 5], [2, 6]])
    np.savez(tmp_path / "a.npz", rays=_table(12), size_hw=[2, 3], near_far=near_far)
    split = rays.load(tmp_path / "a.npz", DataConfig()).split("train")
    rays.save(tmp_path / "b.npz", split, "black")
    again = rays.load(tmp_path / "b.npz", DataConfig()).split("train")
    np.testing.assert_array_equal(again.dataset.cameras.near, [1, 2])
    np.testing.assert_array_equal(again.dataset.cameras.far, [5, 6])
    for left, right in zip(
        jax.tree.leaves(split.dataset), jax.tree.leaves(again.dataset), strict=True
    ):
        np.testing.assert_allclose(left, right, atol=1e-6)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    table = RayTable(*np.ones((2, 1, 1, 2, 3)), near=np.ones(1), far=np.full(1, 2.0))
    split = Split(Dataset(table, np.zeros((1, 1, 2, 3), np.uint8)), ("rays",))
    rays.save(tmp_path / "a.npz", split, "white")
    before = (tmp_path / "a.npz").read_bytes()

    def fail(file, **arrays):
        file.write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        rays.save(tmp_path / "a.npz", split, "white")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_bytes() == before


def test_save_refuses_other_names_and_backgrounds(tmp_path):
    split = Split(Dataset(None, np.zeros((1, 1, 2, 3), np.uint8)), ("rays",))
    with pytest.raises(ValueError, match=r"a\.npy: ray datasets are written as \.npz"):
        rays.save(tmp_path / "a.npy", split, "white")
    with pytest.raises(ValueError, match=r"data\.background is 'random'.*'white' or 'black'"):
        rays.save(tmp_path / "a.npz", split, "random")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_bare_array_is_one_row_of_rays(tmp_path, dtype):
    table = _table(10).astype(dtype)
    np.save(tmp_path / "toy.npy", table)
    scene = rays.load(tmp_path / "toy.npy", DataConfig(near=1, far=3))
    assert scene.name == "toy"
    assert list(scene.loaders) == ["train"]
    split = scene.split("train")
    assert split.names == ("rays",)
    cameras, pixels = split.dataset.cameras, split.dataset.pixels
    assert pixels.shape == (1, 1, 10, 3)
    assert all(leaf.dtype == np.float32 for leaf in (*cameras, pixels))
    np.testing.assert_allclose(cameras.origin[0, 0], table[:, :3], rtol=1e-6)
    lengths = np.linalg.norm(table[:, 3:6].astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(cameras.direction[0, 0], table[:, 3:6] / lengths, atol=1e-6)
    np.testing.assert_allclose(pixels[0, 0], table[:, 6:], rtol=1e-6)
    assert (cameras.near.tolist(), cameras.far.tolist()) == ([1], [3])


def test_rows_are_in_reading_order(tmp_path):
    table = _table(12)
    np.save(tmp_path / "train.npy", table)
    np.savez(tmp_path / "val.npz", rays=table, size_hw=[3, 2])
    scene = rays.load(tmp_path, DataConfig(image_size=(2, 3)))
    train, val = (scene.split(name).dataset for name in ("train", "val"))
    assert train.pixels.shape == (2, 2, 3, 3)
    assert val.pixels.shape == (2, 3, 2, 3), "the file's size goes before the config's"
    np.testing.assert_allclose(train.pixels[1, 0, 2], table[6 + 2, 6:], rtol=1e-6)
    np.testing.assert_allclose(val.cameras.origin[1, 2, 0], table[6 + 4, :3], rtol=1e-6)


def _spoiled(row, column, value):
    table = _table(6)
    table[row, column] = value
    return table


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"rays": _table(6)[:, :8]}, r"rays must be N rows of 9 floats .* shape \(6, 8\)"),
        ({"rays": _table(6)[0]}, r"rays must be N rows of 9 floats .* shape \(9,\)"),
        ({"rays": _table(0)}, r"rays must be N rows of 9 floats .* shape \(0, 9\)"),
        ({"rays": _table(6).astype(int)}, r"rays must be N rows of 9 floats .* type int64"),
        ({"rays": _table(6).astype(str)}, r"rays must be N rows of 9 floats"),
        ({"rays": _table(6).astype(object)}, r"plain NumPy arrays .* never opened"),
        ({"colors": _table(6)}, r"holds no array 'rays', but colors"),
        ({"rays": _spoiled(4, 1, np.nan)}, r"row 4 \(from 0\) must be finite .* nan"),
        ({"rays": _spoiled(4, 1, 1e300)}, r"row 4 \(from 0\) must be finite .* inf"),
        ({"rays": _spoiled(2, slice(3, 6), 0)}, r"row 2 \(from 0\) must have a direction"),
        ({"rays": _spoiled(2, 4, 1e30)}, r"row 2 \(from 0\) must have a direction"),
        ({"rays": _spoiled(5, 8, 200)}, r"row 5 \(from 0\) must have its colour .* by 255"),
        ({"rays": _spoiled(5, 8, -0.1)}, r"row 5 \(from 0\) must have its colour"),
        ({"size_hw": [2, 2]}, r"holds 6 rays, .* size_hw 2x2"),
        ({"size_hw": [0, 2]}, r"size_hw must be 2 positive integers, but is \[0, 2\]"),
        ({"size_hw": 6}, r"size_hw must be 2 positive integers, but is 6"),
        ({"size_hw": [1.5, 4.0]}, r"size_hw must be 2 positive integers"),
        ({"near_far": [6.0, 2.0]}, r"near_far must be 2 distances .* \[6\.0, 2\.0\]"),
        ({"near_far": [0.0, np.inf]}, r"near_far must be 2 distances"),
        ({"near_far": [np.nan, 1]}, r"near_far must be 2 distances"),
        ({"near_far": np.ones((2, 2))}, r"near_far must be .* each of the 1 images"),
        ({"near_far": ["a", "b"]}, r"near_far must be 2 distances"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(tmp_path, arrays, message):
    path = tmp_path / "toy.npz"
    np.savez(path, **({} if "colors" in arrays else {"rays": _table(6)}) | arrays)
    with pytest.raises(ValueError, match=r"toy\.npz: .*" + message) as error:
        rays.load(path, DataConfig()).split("train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("toy.npy", {"image_size": (4, 4)}, r"holds 6 rays, .* data\.image_size 4x4"),
        ("toy.npy", {"downscale": 2}, r"data\.downscale is 2, .*toy\.npy cannot be shrunk"),
        ("toy.npy", {"memory": "0.1KB"}, r"toy\.npy: its rays take .* data\.memory is 0\.1KB; set"),
        ("empty", {}, r"no ray dataset; expected a \.npz or \.npy"),
        ("absent", {}, r"no ray dataset; expected a \.npz or \.npy"),
        ("notes.txt", {}, r"no ray dataset; expected a \.npz or \.npy"),
    ],
)
def test_what_does_not_fit_a_file_or_is_none_is_named(tmp_path, name, fields, message):
    np.save(tmp_path / "toy.npy", _table(6))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=message):
        rays.load(tmp_path / name, DataConfig(**fields)).split("train")


@pytest.mark.parametrize("name", ["toy.npz", "toy.npy"])
def test_truncated_files_are_named(tmp_path, name):
    path = tmp_path / name
    np.savez(path, rays=_table(6)) if name.endswith("z") else np.save(path, _table(6))
    whole = path.read_bytes()
    for end in range(0, len(whole) - 20, 37):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=rf"{name}: cannot be read as plain NumPy arrays"):
            rays.load(path, DataConfig()).split("train")


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("name", ["toy.pkl", "toy.npy", "toy.npz"])
def test_pickles_are_never_opened(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ValueError, match=rf"{name}: .*run any code"):
        rays.load(path, DataConfig()).split("train")


def test_the_conversion_that_is_suggested_for_pickles_works(tmp_path):
    with (tmp_path / "training_data.pkl").open("wb") as file:
        pickle.dump(_table(6), file)
    with pytest.raises(ValueError, match="convert it once with: python -c") as error:
        rays.load(tmp_path, DataConfig())
    command = shlex.split(str(error.value).split("convert it once with: ")[1])
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True)
    split = rays.load(tmp_path, DataConfig()).split("train")
    np.testing.assert_allclose(split.dataset.pixels[0, 0], _table(6)[:, 6:], rtol=1e-6)


def test_bytes_of_a_damaged_archive_are_not_in_the_message(tmp_path):
    """One of an array's two names is damaged: Python's message then has all bytes of the file."""
    np.savez(tmp_path / "train.npz", rays=np.ones((2000, 9), np.float32))
    content = (tmp_path / "train.npz").read_bytes()
    damaged = content[:26] + (2000).to_bytes(2, "little") + content[28:]
    (tmp_path / "train.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"train.npz: cannot be read as plain NumPy") as raised:
        rays.load(tmp_path, DataConfig()).split("train")
    assert len(str(raised.value)) < 700
