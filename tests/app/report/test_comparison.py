"""Several runs on one page, and what does not compare."""

from pathlib import Path

import pytest

from nerf_jax.app.report import read
from nerf_jax.app.report.comparison import compare, differences, labels, unlike
from tests.app.report import made

BETTER = {name: psnr + 1 for name, psnr in made.PSNRS.items()} | {"r_3": 36.0}


def test_two_runs_alike(tmp_path):
    runs = [
        made.write_run(tmp_path / "a"),
        made.write_run(tmp_path / "b", BETTER, learning_rate=1e-3),
    ]
    path = compare(runs)
    assert path == tmp_path / "compare.html"
    page = made.Page(path.read_text(encoding="utf-8"))
    made.check(page)
    said = page.said()
    assert "2 runs, side by side" in said
    assert "A a 30.21 0.7500 24.50 200 12 s 3.2 s 1,005" in said
    assert "optimizer.learning_rate 0.005 0.001" in said
    assert "optimizer.beta1" not in said
    assert "Where they differ most r_3" in said
    assert "The worst of A r_1" in said
    assert "The best of A b/r_2" in said
    assert "\N{DAGGER}" not in said
    best = [cell["data-value"] for cell in page.all("td") if "best" in (cell.get("class") or "")]
    assert best == ["0.75", str(read(runs[1]).score.psnr), "0.75"]
    assert len(page.all("polyline")) == 4


def test_scores_that_do_not_compare_are_marked(tmp_path):
    runs = [
        made.write_run(tmp_path / "a"),
        made.write_run(tmp_path / "b", BETTER, size=12, downscale=2),
        made.write_run(tmp_path / "c", {"other": 50.0}, scene="cube"),
        made.write_run(tmp_path / "d", {f"x{name}": 30.0 for name in made.PSNRS}),
    ]
    out = tmp_path / "pages" / "all.html"
    page = made.Page(compare(runs, out).read_text(encoding="utf-8"))
    made.check(page)
    said = page.said()
    times = "\N{MULTIPLICATION SIGN}"
    assert f"B downscale 2, not 1; image size 12 {times} 12, not 16 {times} 16" in said
    assert "C scene cube, not ball; views 1, not 6" in said
    assert "D other views" in said
    assert "29.50\N{DAGGER}" not in said
    assert "50.00\N{DAGGER}" in said
    # The same photos at another size are still worth a look.
    assert "Where they differ most r_3" in said
    assert not [cell for cell in page.all("td") if "best" in (cell.get("class") or "")]


def test_runs_with_no_view_in_common(tmp_path):
    runs = [made.write_run(tmp_path / "a"), made.write_run(tmp_path / "b", scene="cube")]
    page = made.Page(compare(runs).read_text(encoding="utf-8"))
    made.check(page)
    assert "no view in common" in page.said()


def test_times_of_other_machines_are_told(tmp_path):
    runs = [made.write_run(tmp_path / "a"), made.write_run(tmp_path / "b")]
    assert "different machines" not in made.Page(compare(runs).read_text("utf-8")).said()
    made.edit(runs[1].results_file, machine="another")
    said = made.Page(compare(runs).read_text("utf-8")).said()
    assert "different machines: A cpu (cpu) B another; cpu (cpu)" in said


def test_labels_tell_folders_apart():
    assert labels([Path("x/one"), Path("x/two")]) == ["one", "two"]
    assert labels([Path("x/one"), Path("y/one"), Path("y/two")]) == ["x/one", "y/one", "y/two"]
    assert labels([Path("x/one"), Path("x/one")]) == ["one", "one"]


def test_differences_are_the_fields_that_differ():
    configs = [{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}]
    assert differences(configs) == {"b": [2, 3], "c": ["\N{EN DASH}", 4]}


def test_a_run_is_like_itself(tmp_path):
    record = read(made.write_run(tmp_path))
    assert unlike(record, record) == []


def test_mistakes(tmp_path):
    run = made.write_run(tmp_path / "a")
    with pytest.raises(ValueError, match=r"2 to 26 runs, not 1: name their folders"):
        compare([run])
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"x.html: the page could not be written"):
        compare([run, run], tmp_path / "file" / "x.html")
