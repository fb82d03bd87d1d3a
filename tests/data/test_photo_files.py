import numpy as np
import pytest
from PIL import Image

from nerf_jax.config import DataConfig
from nerf_jax.data import photo_files
from nerf_jax.data.photo_files import Finder, find_masks, locate_photos, natural, photos_in
from nerf_jax.data.photos import Photo
from tests.data.rigs import read_photos


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_natural_order():
    names = [
        "a/10.jpg",
        "a/9.JPG",
        "a/2.jpg",
        "b/1.jpg",
        "a 2/1.jpg",
        "a/x2y10",
        "A/x2y9",
        "2",
        "02",
    ]
    expected = ["02", "2", "a/2.jpg", "a/9.JPG", "a/10.jpg", "A/x2y9", "a/x2y10", "a 2/1.jpg"]
    assert sorted(names, key=natural) == [*expected, "b/1.jpg"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("train\\0.png", "train/0.png"),
        (".\\train\\0", "train/0.png"),
        ("./train/0", "train/0.jpg"),
        ("train/0.png", "train/0.webp"),
        ("train/0.jpg", "train/0.JPG"),
        ("train/0.JPEG", "Train/0.jpg"),
        ("train/v1.b", "train/v1.b.png"),
        ("/home/someone/scene/train/0.png", "train/0.png"),
        ("C:\\Users\\someone\\scene\\train\\0.png", "train/0.png"),
        ("/home/someone/scene/0.png", "0.png"),
        ("data/scene/train/0.png", "train/0.png"),
        ("../other/../train/0", "train/0.tif"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}.png", "cafe\N{COMBINING ACUTE ACCENT}.png"),
    ],
)
def test_a_file_is_found_by_a_name_of_another_machine(tmp_path, name, file):
    touch(tmp_path, file, "other/x.png")
    assert Finder(tmp_path).find(name) == tmp_path / file


@pytest.mark.parametrize(
    "name", ["cam1/0.png", "1.png", "0.txt", "x" * 300, "a\0b", "", "/", "C:\\", "..", "train"]
)
def test_a_file_that_is_another_is_not_found(tmp_path, name):
    touch(tmp_path, "0.png", "train/0.png", "1.npy")
    assert Finder(tmp_path).find(name) is None


def test_an_exact_name_goes_before_others_that_are_alike(tmp_path):
    touch(tmp_path, "a.JPG", "a.jpg", "A.jpg", "b.png", "b.jpg")
    for name in ("a.JPG", "a.jpg", "A.jpg", "b.jpg"):
        assert Finder(tmp_path).find(name) == tmp_path / name
    assert Finder(tmp_path).find("b") == tmp_path / "b.png"


def test_photos_of_two_cameras_are_refused(tmp_path):
    touch(tmp_path, "images/a.png")
    poses = np.arange(24.0).reshape(2, 3, 4)
    names = ["images/a.png", "images/a.jpg"]
    arguments = tmp_path / "file", tmp_path, names, 1
    assert locate_photos(*arguments, lambda _: poses[0]).photos == (tmp_path / "images/a.png",)
    with pytest.raises(ValueError, match=r"file: 'images/a\.png' and .* with two different cam"):
        locate_photos(*arguments, lambda index: poses[index])


def test_other_folders_of_images_are_not_theirs(tmp_path):
    """LLFF's copies have other names than the photos; and not every dataset is in ``images``."""
    touch(tmp_path, "images/IMG_7.JPG", "images_4/image000.png", "rgb/1.png", "rgb/2.png")
    for name in ("images/IMG_7.JPG", "rgb/1.png"):
        found = locate_photos(tmp_path, tmp_path, [name], 4, lambda _: np.eye(4))
        assert (found.photos, found.factor) == ((tmp_path / name,), 1)
    assert photo_files.unlisted(found.photos)[0].startswith("1 photos in ")


def test_skipped_files_are_counted_by_kind(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.registered_extensions", dict)
    files = ["b.heic", "a.HEIC", "c.mp4", "d.dng", "e.txt", "x/1.jpg", "x/2.jpg", "x/3.txt", "y/a"]
    touch(tmp_path, "1.jpg", ".hidden", *files)
    assert photo_files.skipped_files(tmp_path) == [
        "skipped 2 .heic files: pip install 'nerf_jax[heic]' reads them",
        "skipped 1 .mp4 files: prepare takes one video in place of the folder",
        "skipped 1 .dng files: raw photos are not read, export them as JPEG",
        "skipped 1 .txt files: no image format",
        f"skipped 2 photos in x/: put them into the folder itself, or pass {tmp_path / 'x'}",
    ]
    assert photos_in(tmp_path) == [tmp_path / "1.jpg"]


def test_masks_by_convention(tmp_path):
    photos = [f"images/{name}" for name in ("a/1.jpg", "b/1.jpg", "2.jpg", "3.jpg", "4.jpg")]
    masks = ["masks/a/1.jpg.png", "masks/2.png", "images/dynamic_mask_3.png"]
    touch(tmp_path, *photos, *masks, "masks/1.png")
    found = find_masks(tmp_path, [tmp_path / photo for photo in photos])
    relative = [mask and str(mask.relative_to(tmp_path)) for mask in found]
    assert relative == [masks[0], None, masks[1], masks[2], None]
    assert tmp_path / masks[2] not in photos_in(tmp_path / "images")
    touch(tmp_path, "rig/a/1.jpg", "a/1.jpg.png")
    assert find_masks(tmp_path, [tmp_path / "rig/a/1.jpg"]) == (tmp_path / masks[0],)
    assert find_masks(tmp_path, [tmp_path / "images/b/1.jpg"]) == (None,), "another folder's file"


@pytest.mark.parametrize(
    ("name", "valid"), [("m.png", [False, True]), ("dynamic_mask_0.png", [True, False])]
)
def test_black_is_ignored_or_for_instant_ngp_white(tmp_path, name, valid):
    Image.new("RGB", (4, 2)).save(tmp_path / "0.png")
    Image.fromarray(np.array([[0, 0, 255, 255]] * 2, np.uint8)).save(tmp_path / name)
    photo = Photo(tmp_path / "0.png", (2, 4), tmp_path / name)
    assert read_photos([photo], DataConfig(downscale=2))[1].tolist() == [[valid]]
