"""A run's files, read again; and what is told where they are damaged."""

import json
import math

import pytest

from nerf_jax.app.report.record import MeanScore, read
from nerf_jax.app.runs import Run
from tests.app.report import made


def test_scores_config_and_pictures(tmp_path):
    run = made.write_run(tmp_path / "run")
    record = read(run)
    assert [view.name for view in record.views] == ["r_1", "r_3", "r_5", "r_0", "r_4", "b/r_2"]
    assert record.views[-1].picture == tmp_path / "run/images/val/b_r_2.png"
    assert record.views[0].psnr == 24.5
    assert record.score.ssim == 0.75
    assert record.config["optimizer.learning_rate"] == 5e-3
    assert record.config["optimizer.schedule.kind"] == "exponential"
    assert record.rays_per_second == 1005.0
    assert record.fact("steps") == 200
    assert math.isnan(record.fact("device"))
    assert record.machine == "cpu (cpu)"
    assert record.more_scores == ()


def test_scores_that_are_not_known_are_taken_along(tmp_path):
    run = made.write_run(tmp_path)
    halves = {"fitted_code": {"psnr": 30.0, "ssim": 0.9}, "mean_code": {"psnr": 20.0}}
    made.edit(run.results_file, right_half=halves, notes={"psnr": "high"}, more=[1, 2])
    fitted, mean = read(run).more_scores
    assert fitted == MeanScore("right half, fitted code", 30.0, 0.9)
    assert mean[:2] == ("right half, mean code", 20.0)
    assert math.isnan(mean.ssim)


def test_images_too_small_for_an_ssim(tmp_path):
    run = made.write_run(tmp_path)
    each = [{"name": "a", "psnr": 30.0, "ssim": math.nan}, {"name": "b", "psnr": 20.0}]
    made.edit(run.results_file, per_image=each, ssim=math.nan)
    assert "NaN" in run.results_file.read_text()
    record = read(run)
    assert all(math.isnan(view.ssim) for view in record.views)
    assert math.isnan(record.score.ssim)


def test_a_run_without_reports_of_training(tmp_path):
    run = made.write_run(tmp_path)
    run.metrics_file.unlink()
    assert math.isnan(read(run).rays_per_second)


def test_no_run_and_no_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no run there"):
        read(Run(tmp_path / "nowhere"))
    run = made.write_run(tmp_path)
    run.results_file.unlink()
    with pytest.raises(FileNotFoundError, match=rf"no results there yet; `run.py eval {tmp_path}`"):
        read(run)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"psnr": 3', r"results.json: not JSON"),
        ("[]", r"results.json: expected a table of fields, found list"),
        (
            '{"psnr": 30}',
            r"results.json: damaged \(KeyError: 'protocol'\); `run.py eval .*` rewrites it",
        ),
        ({"per_image": []}, r"damaged \(ValueError: no images in per_image\)"),
        ({"per_image": [{"psnr": 1}]}, r"damaged \(KeyError: 'name'\)"),
        ({"per_image": 3}, r"damaged \(TypeError"),
        ({"protocol": {}}, r"damaged \(KeyError: 'split'\)"),
    ],
)
def test_damage_is_told_with_its_remedy(tmp_path, content, said):
    run = made.write_run(tmp_path)
    if isinstance(content, dict):
        content = json.dumps(run.results() | content)
    run.results_file.write_text(content)
    with pytest.raises(ValueError, match=said) as raised:
        read(run)
    assert "\n" not in str(raised.value)
