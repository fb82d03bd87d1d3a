"""The files of a run, as they are after a kill, a full disk or an editor."""

import json

import pytest

from nerf_jax.app.checkpoint import Checkpoints
from nerf_jax.app.runs import Clock, Run, clock_and_photos

CLOCK = {"train_seconds": 1.5, "compile_seconds": 2.0}


def line(step: int) -> str:
    return json.dumps({"step": step, "psnr": 20.0, "val_psnr": None})


@pytest.mark.parametrize(
    "damaged",
    [
        *('{"step": 2, "ps', "", "null", "[1]", '{"psnr": 1.0}', '{"step": 2.5}', "[" * 100_000),
        *('{"step": "2"}', '{"step": 2, "psnr": "high"}', '{"step": 2, "psnr": [1]}', "\udce9"),
        '{"step": 2, "psnr": 1' + "0" * 400 + "}",
    ],
)
def test_damaged_reports_of_training_are_left_out(tmp_path, damaged):
    run = Run(tmp_path)
    text = "\n".join([line(1), damaged, line(3), line(4)])
    run.metrics_file.write_text(text, errors="surrogateescape")
    assert [record["step"] for record in run.metrics()] == [1, 3, 4]
    run.forget_metrics_after(3)
    assert [record["step"] for record in run.metrics()] == [1, 3]


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '"\udce9"'])
def test_a_damaged_config_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"config.json: not JSON: .*$"):
        Run(tmp_path).config()


def test_metadata_of_versions():
    assert clock_and_photos({"clock": CLOCK, "num_photos": 3}) == (Clock(1.5, 2.0), 3)
    assert clock_and_photos({"clock": CLOCK, "config": {"num_photos": 4}}) == (Clock(1.5, 2.0), 4)


@pytest.mark.parametrize(
    "damage",
    [
        *({"clock": None}, {"clock": CLOCK | {"other": 1}}, {"num_photos": "3"}),
        *({"clock": CLOCK | {"train_seconds": value}} for value in (float("nan"), -1, "1", None)),
        {"num_photos": 0, "config": None},
    ],
)
def test_damaged_metadata_of_a_checkpoint_are_one_line(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, {"x": 0}, {"clock": CLOCK, "num_photos": 3} | damage)
    checkpoints.close()
    with pytest.raises(ValueError, match=r"3: not a checkpoint of nerf_jax, or damaged \("):
        Checkpoints(tmp_path).metadata(clock_and_photos)
