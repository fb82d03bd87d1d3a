"""The page of one run: whole, in one file, saying what the run's files say."""

import math
import shutil

import pytest

from nerf_jax.app.report import read, write_report
from nerf_jax.app.report.card import card_of
from nerf_jax.app.report.record import ScoredView
from nerf_jax.app.report.single import MAX_VIDEO_BYTES, ranked_views
from tests.app.report import made


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> made.Page:
    run = made.write_run(tmp_path_factory.mktemp("a") / "one run")
    (run.folder / "orbit.mp4").write_bytes(b"a video")
    (run.folder / "orbit_depth.mp4").write_bytes(bytes(MAX_VIDEO_BYTES + 1))
    half = {"psnr": 12.345, "ssim": 0.6}
    made.edit(run.results_file, left_half=half, machine="A machine <b>, 2 cores")
    path = write_report(run)
    assert path == run.folder / "report.html"
    return made.Page(path.read_text(encoding="utf-8"))


def test_it_is_sound(page):
    made.check(page)


def test_it_says_what_the_results_say(page):
    said = page.said()
    assert "30.2 dB on 6 views of “val”, after 200 steps in 12 s." in said
    assert "30.21 dB" in said
    assert "0.7500" in said
    assert "6: all of the split “val”, none of them used for training" in said
    assert "11x11 Gaussian window" in said
    for name, psnr in made.PSNRS.items():
        assert f"{name} {psnr:.2f} {psnr / 40:.4f}" in said
    assert "compilation 3.2 s" in said
    assert "1,005 rays/s" in said
    assert "python 3.11, jax 0.9" in said
    assert "A machine <b>, 2 cores" in said
    assert "left half 12.35 0.6000" in said or "left half 12.34 0.6000" in said
    assert "learning_rate 0.005" in said


def test_the_worst_views_come_first(page):
    heads = page.said().split("Views, the worst first")[1].split("Each view")[0]
    names = ["The worst r_1", "Second worst r_3", "In the middle r_0", "The best b/r_2"]
    order = [heads.index(name) for name in names]
    assert order == sorted(order)


def test_small_videos_are_within_and_large_ones_beside(page):
    first, second = page.all("video")
    assert first["src"] == "data:video/mp4;base64,YSB2aWRlbw=="
    assert second["src"] == "orbit_depth.mp4"
    assert {"href": "orbit_depth.mp4"} in page.all("a")


def test_curves_end_where_training_did(page):
    curves = page.all("polyline")
    assert len(curves) == 4  # training and held-out, over steps and over time
    first = curves[0]["points"].split()
    assert len(first) == 10
    assert float(first[0].split(",")[1]) > float(first[-1].split(",")[1]), "PSNR rises"
    assert "training rays from 20.0 to 29.0" in page.all("svg")[1]["aria-label"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 50])
def test_views_that_say_most(tmp_path, count):
    views = [ScoredView(str(n), float(n), 1.0, tmp_path) for n in range(count)]
    found = ranked_views(views)
    assert found[0] == ("the worst", views[0])
    assert len(found) == min(count, 4)
    assert [view.psnr for _, view in found] == sorted({view.psnr for _, view in found})
    if count > 1:
        assert found[-1] == ("the best", views[-1])


def test_a_run_of_very_little(tmp_path):
    """One view too small for an SSIM, its picture gone, no reports, no video."""
    run = made.write_run(tmp_path, {"a<b>": math.nan}, size=8)
    shutil.rmtree(tmp_path / "images")
    run.metrics_file.unlink()
    made.edit(run.results_file, ssim=math.nan, steps=None)
    page = made.Page(write_report(run).read_text(encoding="utf-8"))
    made.check(page)
    said = page.said()
    assert "on one view of “val”" in said
    assert "the views are too small for SSIM" in said
    assert "pictures are no longer in the folder" in said
    assert "a<b>" in said
    assert "nan" not in said.lower()


def test_the_page_of_the_scene_is_linked_if_there_is_one(tmp_path):
    run = made.write_run(tmp_path)
    assert {"href": "scene.html"} not in made.Page(write_report(run).read_text()).all("a")
    (tmp_path / "scene.html").touch()
    assert {"href": "scene.html"} in made.Page(write_report(run).read_text()).all("a")


def test_one_that_cannot_be_written(tmp_path):
    run = made.write_run(tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report.html: the page could not be written \(Is a dir"):
        write_report(run)
    assert not list(tmp_path.glob(".*")), "leftovers"


def test_a_card_shows_the_view_in_the_middle(tmp_path):
    run = made.write_run(tmp_path)
    page = made.Page(card_of(read(run)))
    assert [image["alt"] for image in page.all("img")] == [
        "small: truth, r_0",
        "small: rendering",
    ]
    assert "PSNR 30.21 dB SSIM 0.7500" in page.said()
    assert "steps 200 training 12 s" in page.said()
    shutil.rmtree(tmp_path / "images")
    assert not made.Page(card_of(read(run))).all("img")
