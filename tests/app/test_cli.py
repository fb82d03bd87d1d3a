"""The command line, as a user types it: a whole run, and every mistake in one clear line."""

import io
import json
import logging
import re
import sys
import timeit
import urllib.request
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from nerf_jax import methods
from nerf_jax.app import cli
from nerf_jax.app.commands import evaluate, options, train, view
from nerf_jax.app.commands.train import _print_summary
from nerf_jax.app.processes import ALONE
from nerf_jax.app.runs import Run
from nerf_jax.app.viewer.scene_state import LiveTraining
from nerf_jax.app.viewer.server import free_port
from nerf_jax.data.scene import Scene, Split
from tests import small

SMALL = """
from tests import small
config = small.config()
"""


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a scene, a config, and a run of that config."""
    folder = tmp_path_factory.mktemp("place")
    small.write_blender(folder / "ball")
    (folder / "ball.py").write_text(SMALL)
    assert run("--config", folder / "ball.py", *of_scene(folder), "--output", folder / "run") == 0
    return folder


def of_scene(folder) -> list[object]:
    return ["--data.root", folder / "ball", "--data.scene", "ball"]


@pytest.mark.slow
def test_a_run_leaves_everything(place):
    files = {str(path.relative_to(place / "run")) for path in (place / "run").rglob("*")}
    assert {
        "config.json",
        "metrics.jsonl",
        "curves.png",
        "report.html",
        "results.json",
        "images/val/r_4.png",
        "images/val/r_5.png",
        "orbit.mp4",
        "orbit_depth.mp4",
        "stills/000_color.png",
        "stills/000_depth.png",
        "checkpoints/8",
    } <= files
    assert not [name for name in files if "/." in name or name.startswith(".")], "leftovers"


def test_notes_of_a_scene_are_told_below_it(capsys):
    split = Split(small.dataset(), names=("a", "b", "c", "d"))
    scene = Scene("ball", "a/folder", {}, notes=("2 of the 6 photos are not there",))
    _print_summary(scene, split, None, methods.build(small.config()), ["space box: why"])
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("scene ball (a/folder): 4 images of 16x16")
    assert told[1:3] == ["  2 of the 6 photos are not there", "  space box: why"]


@pytest.mark.slow
def test_results_say_what_they_mean(place):
    results = json.loads((place / "run" / "results.json").read_text())
    assert results["protocol"]["split"] == "val"
    assert results["protocol"]["background"] == "white"
    assert results["protocol"]["image_size_hw"] == [16, 16]
    assert "quantisation" in results["protocol"]
    assert results["steps"] == 8
    assert results["train_seconds"] > 0
    assert results["compile_seconds"] > 0
    assert {"device", "versions"} <= set(results)
    each = results["per_image"]
    assert [score["name"] for score in each] == ["r_4", "r_5"]
    assert all(set(score) == {"name", "psnr", "ssim", "affine_color"} for score in each)
    assert all(set(score["affine_color"]) == {"psnr", "ssim"} for score in each)
    assert not {"right_half"} & (set(results) | set(results["protocol"])), "it has no codes"
    assert np.isclose(results["psnr"], np.mean([score["psnr"] for score in each]))
    assert np.isclose(results["ssim"], np.mean([score["ssim"] for score in each]))


def test_scores_are_those_of_the_pictures(place):
    """The PSNR in results.json, from the PNG that was written, by plain NumPy."""
    results = json.loads((place / "run" / "results.json").read_text())
    strip = np.asarray(Image.open(place / "run" / "images" / "val" / "r_4.png")) / 255
    assert strip.shape == (16, 4 * 16, 3)
    truth, image = strip[:, :16], strip[:, 16:32]
    rgba = np.asarray(Image.open(place / "ball" / "val" / "r_4.png")) / 255
    np.testing.assert_allclose(truth, rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:], atol=3e-3)
    psnr = -10 * np.log10(np.mean((truth - image) ** 2))
    assert abs(psnr - results["per_image"][0]["psnr"]) < 0.05


def test_the_video_plays(place):
    frames = small.read_video(place / "run" / "orbit.mp4")
    assert len(frames) == 4
    assert frames[0].shape == (16, 16, 3)


def page_at(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as page:
        return page.read()


@pytest.mark.slow
def test_view_serves_a_page_until_it_is_interrupted(place, monkeypatch, capsys):
    served = []

    def wait():
        """As if somebody looked, and pressed Ctrl-C."""
        (url,) = re.findall(r"viewer: (http://127.0.0.1:\d+)", capsys.readouterr().out)
        served.append(page_at(url))
        raise KeyboardInterrupt

    monkeypatch.setattr(view, "_wait", wait)
    assert run("view", place / "run", "--port", free_port(23_000)) == 0
    assert b"<html" in served[0]


@pytest.mark.slow
def test_training_can_be_looked_on(place, tmp_path, monkeypatch, capsys):
    """The page is there from before the first step until after the last."""
    told, looked = [], []
    watch = LiveTraining.__call__

    def watched(learning, glimpse):
        if not told:
            told.extend(re.findall(r"viewer: (http://\S+)", capsys.readouterr().out))
            assert b"<html" in page_at(told[0])
        looked.append(glimpse.step)
        return watch(learning, glimpse)

    monkeypatch.setattr(LiveTraining, "__call__", watched)
    monkeypatch.setattr(train, "keep_open", lambda: looked.append(page_at(told[0])[:0]))
    arguments = ["--config", place / "ball.py", *of_scene(place), "--out", tmp_path / "run"]
    arguments += ["--render.num_frames", "0", "--view", "--port", free_port(23_100)]
    assert run(*arguments) == 0
    assert looked == [0, 4, 8, b""]


def test_without_viser_it_says_what_to_install(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert run("view", place / "run") == 1
    assert "pip install 'nerf_jax[viewer]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--config ball.py --output run", "run already holds a run, at step 8: add --resume"),
        ("--output run --resume --model.width 32", "model.width is 32, but the run in"),
        ("eval run --split test", "no split 'test'"),
        ("render run --num-frames 0", "render.num_frames is 0"),
        ("render run --path bad.json", "bad.json: camera_path must be a list of at least one cam"),
        ("export run --output file", "file: cannot be written to"),
        ("export run --crop 0 0 0 1 1 -1", "export.crop must be six finite numbers"),
        ("export run --format html", "model.method is 'nerf', but a web page holds"),
    ],
)
def test_mistakes_with_a_run_are_one_clear_line(place, arguments, expected, capsys, monkeypatch):
    monkeypatch.chdir(place)
    (place / "bad.json").write_text('{"camera_path": []}')
    (place / "file").write_text("no folder")
    assert run(*arguments.split()) == 1
    error = capsys.readouterr().err
    assert re.match(f"error: .*{expected}", error)
    assert error.count("\n") == 1


@pytest.mark.slow
def test_resume_goes_on(place, capsys):
    arguments = ["--output", place / "run", "--resume", "--train.num_steps", "12"]
    assert run(*arguments, "--render.num_frames", "0") == 0
    out = capsys.readouterr().out
    assert "resumed at step 8" in out
    assert "trained 12 steps" in out
    assert Run(place / "run").config().train.num_steps == 12
    assert Run(place / "run").checkpoints.latest() == 12


@pytest.mark.slow
def test_photos_larger_than_the_memory(place, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ["--config", place / "ball.py", *of_scene(place), "--output", tmp_path / "run"]
    assert run(*arguments, "--data.memory", "8KB", "--render.num-frames", "0") == 0
    out = capsys.readouterr().out
    files = sorted((tmp_path / "nerf_jax" / "photos").glob("*.pixels"))
    assert len(files) == 2, "train and val"
    assert re.search(r"data\.memory 8KB: pixels are read from \S+\.pixels, \S+\.pixels\n", out)
    assert re.search(r"read photos 4/4 .*\nread photos 1/2 .*\nread photos 2/2 ", out)
    assert re.search(
        r"peak memory of the process: [\d.]+ [MG]B\nthat is more than data\.memory", out
    )
    records = Run(tmp_path / "run").metrics()
    assert records[-1]["step"] == 8
    assert records[-1]["val_psnr"] > 5


def test_eval_another_split_and_size(place, capsys):
    arguments = ["eval", place / "run", "--split", "train", "--every", "2"]
    assert run(*arguments, "--data.downscale", "2") == 0
    out = capsys.readouterr().out
    assert re.search(
        r"train: PSNR \d+\.\d\d dB, SSIM -?\d\.\d{4} \(mean of 2 views\)|SSIM nan", out
    )
    results = json.loads((place / "run" / "results.json").read_text())
    assert results["protocol"]["image_size_hw"] == [8, 8]
    assert results["protocol"]["every"] == 2
    assert (place / "run" / "images" / "train" / "r_2.png").is_file()
    page = (place / "run" / "report.html").read_text(encoding="utf-8")
    assert "every 2nd of the split “train”, which was used for training" in page


def test_render_again(place):
    assert run("render", place / "run", "--num-frames", "3", "--downscale", "2") == 0
    frames = small.read_video(place / "run" / "orbit.mp4")
    assert len(frames) == 3
    assert frames[0].shape == (8, 8, 3)


def test_render_elsewhere_another_way(place, capsys):
    out = place / "films"
    arguments = ["--path", "spline", "--num-frames", "2", "--size", "10", "12", "--output", out]
    arguments += ["--outputs", "depth", "normals", "--formats", "gif", "png16"]
    assert run("render", place / "run", *arguments) == 0
    names = {"spline_depth.gif", "spline_depth_png16", "spline_normals.gif", "spline_normals_png16"}
    assert {path.name for path in out.iterdir()} == {*names, "spline_depth.json", "stills"}
    with Image.open(out / "spline_normals.gif") as gif:
        assert (gif.size, gif.n_frames) == ((12, 10), 2)
    assert re.search(r"depth from \S+ \(red\) to \S+ \(blue\), in units", capsys.readouterr().out)


def test_render_interrupted(place, capsys, monkeypatch):
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nerf_jax.app.commands.render.render_video", stop)
    assert run("render", place / "run") == 130
    assert "the same command continues from them" in capsys.readouterr().out


def test_export_cameras(place, capsys):
    assert run("export", place / "run", "--parts", "cameras", "--out", place / "taken") == 0
    out = capsys.readouterr().out
    assert "Do not take measurements from it" in out
    assert str(place / "taken" / "transforms.json") in out
    file = json.loads((place / "taken" / "transforms.json").read_text())
    assert [frame["file_path"] for frame in file["frames"]] == [f"r_{n}" for n in range(6)]
    given = json.loads((place / "ball" / "transforms_train.json").read_text())
    for ours, theirs in zip(file["frames"][:4], given["frames"], strict=True):
        np.testing.assert_allclose(ours["transform_matrix"], theirs["transform_matrix"], atol=1e-6)


def test_export_tells_how_far_it_is(place, capsys, monkeypatch):
    """Stage after stage, through to the files, whatever they are."""

    def extract(scene, wanted, folder, *, on_progress):
        assert wanted.resolution == 64
        assert wanted.crop == (-1, -1, -1, 1, 1, 1)
        for stage in ("looking", "surface"):
            for done in (1, 2, 3):
                on_progress(stage, done, 3)
        return [folder / "mesh.ply"]

    monkeypatch.setattr("nerf_jax.app.commands.export.export_scene", extract)
    crop = ["--crop", -1, -1, -1, 1, 1, 1]
    assert run("export", place / "run", *crop, "--resolution", 64) == 0
    out = capsys.readouterr().out
    assert out.index("looking 1/3") < out.index("looking 3/3") < out.index("surface 3/3")
    assert str(place / "run" / "export" / "mesh.ply") in out


def test_export_as_a_page(place, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "nerf_jax.app.commands.export.write_page",
        lambda scene, path, bits: asked.append((int(scene.state.step), bits)) or path,
    )
    assert run("export", place / "run", "--format", "html", "--quantize", 8) == 0
    assert asked == [(8, 8)]
    assert str(place / "run" / "export" / "scene.html") in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("option", [[], ["--no-page"]])
def test_a_run_ends_with_a_page_unless_it_is_left_out(place, tmp_path, monkeypatch, option):
    monkeypatch.setattr(
        "nerf_jax.app.commands.train.write_page",
        lambda scene, path: path.write_text("a page") and path,
    )
    command = ["--config", place / "ball.py", *of_scene(place), "--output", tmp_path / "run"]
    assert run(*command, "--train.num_steps", 4, "--render.num_frames", 0, *option) == 0
    linked = "scene.html" in (tmp_path / "run" / "report.html").read_text()
    assert (tmp_path / "run" / "scene.html").is_file() is linked is not bool(option)


def write_rays(place, split) -> int:
    out = place / "rays" / f"{split}.npz"
    return run("rays", out, "--config", place / "ball.py", *of_scene(place), "--split", split)


@pytest.fixture(scope="module")
def of_rays(place):
    """A run on the rays of the ball's photos."""
    for split in ("train", "val"):
        assert write_rays(place, split) == 0
    arguments = ["--config", place / "ball.py", "--data.root", place / "rays"]
    assert run(*arguments, "--output", place / "of_rays") == 0
    return place / "of_rays"


@pytest.mark.slow
def test_rays_are_written_and_trained_on(place, of_rays, capsys):
    assert write_rays(place, "train") == 0
    assert "1,024 rays of 4 images" in capsys.readouterr().out
    # The same pixels and rays, drawn by the same keys: the same training, colours aside, which
    # were composited before they were written and not after.
    ours, theirs = (Run(folder).metrics() for folder in (of_rays, place / "run"))
    assert np.isclose(ours[0]["loss"], theirs[0]["loss"], rtol=1e-4)
    assert json.loads((of_rays / "results.json").read_text())["psnr"] > 5
    assert run("export", of_rays) == 1
    assert "trained on a ray dataset, so its cameras are unknown" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_are_compared(place, of_rays, capsys):
    assert run("compare", place / "run", of_rays) == 0
    assert capsys.readouterr().out == f"{place / 'compare.html'}\n"
    assert run("compare", place / "run", place / "run", "--out", place / "new" / "a.html") == 0
    assert "same in every field" in (place / "new" / "a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tran"], r"no command 'tran'.*Did you mean train"),
        (["--config", "leg.py"], r"no config 'leg.py'.*Did you mean lego.py"),
        (["eval", "nowhere"], r"nowhere: no run there"),
        (["render", "nowhere"], r"nowhere: no run there"),
        (["compare", "nowhere", "there"], r"nowhere: no run there"),
        (["compare"], r"compare takes 2 to 26 runs, not 0"),
        (["view", "nowhere"], r"nowhere: no run there"),
        (["view", "nowhere", "--port", "65536"], r"port must be between 1 and 65535, but is 65536"),
        (["--view", "--port", "0"], r"port must be between 1 and 65535, but is 0"),
        (["export", "nowhere"], r"nowhere: no run there"),
        (["--data.scene", "x", "--data.root", "no/where"], r"no/where"),
        (["--resume", "--output", "nowhere"], r"nowhere: no run there"),
    ],
)
def test_mistakes_are_one_clear_line(arguments, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) != 0
    error = capsys.readouterr().err
    assert re.match(f"error: .*{expected}", error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir()), "a mistake leaves nothing behind"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--optimizer.learning_rat 1e-3", "--optimizer.learning-rate"),
        ("--train.num_steps 0", "train.num_steps must be positive, but is 0"),
        ("export run --format stl", "stl"),
    ],
)
def test_invalid_options_are_named(arguments, expected, capsys):
    with pytest.raises(SystemExit) as ended:
        run(*arguments.split())
    assert ended.value.code != 0
    assert expected in capsys.readouterr().err


def test_damaged_runs(place, tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model": ')
    assert run("eval", tmp_path) == 1
    assert "config.json: not JSON" in capsys.readouterr().err
    (tmp_path / "config.json").write_text((place / "run" / "config.json").read_text())
    for command in ("eval", "view"):
        assert run(command, tmp_path) == 1
        error = capsys.readouterr().err
        assert "no checkpoint there yet" in error
        assert error.count("\n") == 1
    (tmp_path / "config.json").write_text('{"trian": {}}')
    assert run("eval", tmp_path) == 1
    assert "config.json.trian: no such field. Did you mean train?" in capsys.readouterr().err


def test_names_of_any_encoding_are_printed(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    told = "caf\udce9 名"
    command = "nerf_jax.app.commands.compare.compare_runs"
    monkeypatch.setattr(command, lambda arguments: print(told) or 0)
    assert run("compare") == 0
    stream.flush()
    assert stream.buffer.getvalue().strip() == rb"caf\udce9 \u540d"


def test_cached_programs_that_are_not_whole_are_dropped(tmp_path):
    whole = zlib.compress(bytes(1000))
    entries = {"whole": whole, "half": whole[:-3], "empty": b"", "zstandard": b"\x28\xb5\x2f\xfd"}
    for name, content in entries.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    cli._drop_unfinished(tmp_path)
    left = {path.name for path in tmp_path.glob("*-cache")}
    assert left == {"whole-cache", "zstandard-cache"}
    (tmp_path / "later-cache").write_bytes(whole[:5])
    cli._drop_unfinished(tmp_path)
    assert {path.name for path in tmp_path.glob("*-cache")} == left
    cli._drop_unfinished(tmp_path / "absent")


def test_a_list_of_fonts_that_cannot_be_saved_is_silent(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    font_manager.json_dump(font_manager.FontEntry(), tmp_path / "absent" / "fonts.json")
    assert "Could not save" in caplog.text
    caplog.clear()
    cli._quiet_libraries()
    font_manager.json_dump(font_manager.FontEntry(), tmp_path / "absent" / "fonts.json")
    assert not caplog.records


def test_eval_says_how_the_scene_was_read(place, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "evaluate", lambda *_: [])
    assert run("eval", place / "run") == 0
    assert "\n  read as blender from transforms_train.json" in capsys.readouterr().out


def test_threads_of_a_failed_checkpoint_are_silent_and_others_are_not(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda problem: told.append(problem.exc_value))
    cli._quiet_threads.__wrapped__()
    other = RuntimeError("another")
    for error in (RuntimeError("Event loop is closed"), other):
        sys.unraisablehook(SimpleNamespace(exc_value=error))
    assert told == [other]


@pytest.mark.parametrize(
    ("arguments", "width"),
    [
        ([], 64),  # 600 s, of which each has room for 10 steps
        (["--train.max_seconds", "399"], 32),
        (["--train.max-seconds=399"], 32),
        (["--train.max_seconds", "400"], 64),
        (["--train.max_seconds", "None"], 64),
        (["--train.num_steps", "3999"], 32),
        (["--train.num_steps", "3999", "--model.width", "48"], 48),
    ],
)
def test_the_time_chooses_the_sizes(arguments, width, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "steps_in", lambda seconds: 10 * seconds)
    given = ["--config", "lego.py", "--output", str(tmp_path), *arguments]
    _, found = train._parse(given, ALONE)
    assert found.settings.model.width == width


def test_the_speed_of_this_machine_counts(monkeypatch):
    monkeypatch.setattr(timeit, "repeat", lambda read, number, repeat: [9.0, 0.02, 0.04])
    assert options.steps_in(60) == pytest.approx(1000)
    monkeypatch.undo()
    assert 1 < options.steps_in(60) < 1e6
