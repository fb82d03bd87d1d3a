"""The host's loop: resuming, stopping, and refusing to go on with nonsense."""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.app import fit as fit_module
from nerf_jax.app.fit import FitResult, fit, training_dataset
from nerf_jax.app.programs import TrainingPrograms
from nerf_jax.app.report import write_curves
from nerf_jax.app.runs import Run
from nerf_jax.config import HashConfig, NerfConfig, ProposalConfig
from nerf_jax.config.serialization import to_dict
from nerf_jax.data.scene import Split
from nerf_jax.devices import ray_mesh
from nerf_jax.methods import make_optimizer
from nerf_jax.train import init_state
from tests import small
from tests.test_train import same_bits

pytestmark = pytest.mark.usefixtures("traced_once")


def run_fit(
    folder, *, resume: bool = False, method=None, callback=None, **train: object
) -> FitResult:
    config, run = small.config(**train), Run(folder)
    run.write_json("config.json", to_dict(config))
    data, method = small.dataset(), method or methods.build(config)
    return fit(run, config, method, data, data, ray_mesh(), resume=resume, callback=callback)


@pytest.mark.slow
def test_resuming_continues_bit_for_bit(tmp_path):
    whole = run_fit(tmp_path / "whole", num_steps=10)
    run_fit(tmp_path / "parts", num_steps=5)
    resumed = run_fit(tmp_path / "parts", num_steps=10, resume=True)
    assert int(resumed.state.step) == 10
    assert same_bits(whole.state, resumed.state)
    records = Run(tmp_path / "parts").metrics()
    assert [record["step"] for record in records] == [4, 5, 9, 10]
    losses = [record["loss"] for record in Run(tmp_path / "whole").metrics()]
    assert losses[0] == records[0]["loss"]


@pytest.mark.parametrize(
    ("step", "seconds", "expected"), [(0, 0, 1000), (100, 20, 300), (100, 2, 1000)]
)
def test_the_horizon_is_the_end_of_the_steps_or_of_the_time(step, seconds, expected):
    settings = small.config(num_steps=1000, max_seconds=60.0).train
    assert fit_module.horizon(settings, step, seconds) == expected


@pytest.mark.slow
def test_resuming_forgets_what_the_checkpoint_does_not_hold(tmp_path):
    run_fit(tmp_path, num_steps=4)
    run = Run(tmp_path)
    run.add_metrics({"step": 99, "loss": 0.0})
    with run.metrics_file.open("a") as file:
        file.write('{"step": 100, "lo')  # cut off while writing
    run_fit(tmp_path, num_steps=8, resume=True)
    assert [record["step"] for record in run.metrics()] == [4, 8]


@pytest.mark.slow
def test_reports(tmp_path):
    fitted = run_fit(tmp_path, num_steps=8, checkpoint_every=4)
    records = Run(tmp_path).metrics()
    wanted = {"step", "train_seconds", "loss", "mse", "psnr", "val_psnr", "rays_per_second"}
    wanted |= {"opacity"}
    assert all(wanted == set(record) for record in records)
    assert all(np.isclose(r["psnr"], -10 * np.log10(r["mse"]), atol=1e-3) for r in records)
    assert records[0]["train_seconds"] < records[1]["train_seconds"]
    assert np.isclose(fitted.clock.train_seconds, records[-1]["train_seconds"], atol=1e-2)
    assert fitted.clock.compile_seconds > 0
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [4, 8]
    write_curves(Run(tmp_path))
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_depths_are_learned_from_only_where_they_are_asked_for():
    blind = small.dataset()._replace(depth=None)
    known, names = small.dataset().depth, ("a", "b", "c", "d")
    config = dataclasses.replace(small.config(), model=HashConfig(depth_weight=0.1))
    assert training_dataset(Split(blind, names, known), config).depth is known
    for method in (NerfConfig(), HashConfig(), ProposalConfig()):
        plain = dataclasses.replace(config, model=method)
        assert training_dataset(Split(blind, names, known), plain).depth is None
    assert training_dataset(Split(blind, names), config).depth is None


@pytest.mark.slow
def test_time_ends_a_run_too(tmp_path):
    fitted = run_fit(tmp_path, num_steps=1000, max_seconds=1e-6)
    assert int(fitted.state.step) == 4  # one call
    assert Run(tmp_path).checkpoints.latest() == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends(tmp_path, number, monkeypatch):
    before = signal.getsignal(number)
    report = fit_module._Reporter.report

    def report_and_interrupt(reporter, step, progress, *, is_last):
        report(reporter, step, progress, is_last=is_last)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(fit_module._Reporter, "report", report_and_interrupt)
    fitted = run_fit(tmp_path, num_steps=1000)
    assert fitted.interrupted_by == number
    assert Run(tmp_path).checkpoints.latest() == int(fitted.state.step) == 4
    assert signal.getsignal(number) is before


def poisoned(at_step: int):
    """A method whose loss is not finite from a step on."""
    method = methods.build(small.config())
    count = at_step - 1

    def refresh(params, aux, key, step):
        return step

    def init(key, cameras, size_hw):
        return method.init(key, cameras, size_hw)[0], jnp.int32(0)

    def loss(params, aux, keys, batch):
        value, metrics = method.loss(params, (), keys, batch)
        value = jnp.where(aux >= count, jnp.nan, value)
        return value, metrics | {"loss": value}

    return method._replace(init=init, refresh=refresh, loss=loss)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"the loss is not finite at step 7; that of step 4"
    ):
        run_fit(tmp_path, method=poisoned(7), num_steps=12, checkpoint_every=4)
    checkpoints = Run(tmp_path).checkpoints
    assert checkpoints.latest() == 4
    method = poisoned(7)
    like = init_state(method, make_optimizer(small.config().optimizer), small.dataset(), ray_mesh())
    assert all(
        np.isfinite(leaf).all() for leaf in jax.tree.leaves(checkpoints.restore(like).params)
    )


@pytest.mark.slow
def test_without_a_checkpoint_it_says_so(tmp_path):
    with pytest.raises(FloatingPointError, match="at step 2; no checkpoint was made before"):
        run_fit(tmp_path, method=poisoned(2), num_steps=8)


@pytest.mark.slow
def test_a_finished_run_has_nothing_left(tmp_path, capsys):
    run_fit(tmp_path, num_steps=4)
    fitted = run_fit(tmp_path, num_steps=4, resume=True)
    assert int(fitted.state.step) == 4
    assert "nothing left to train" in capsys.readouterr().out


@pytest.mark.slow
def test_the_length_of_a_call_divides_the_run():
    """The estimate of the steps in a second compiles no second program for the rest."""
    config = small.config(num_steps=120, steps_per_call=0)
    data, model, mesh = small.dataset(), methods.build(config), ray_mesh()
    optimizer = make_optimizer(config.optimizer)
    state = init_state(model, optimizer, data, mesh)
    programs = TrainingPrograms(config, model, optimizer, mesh, data, held_out=None)
    length = programs.steps_per_call(state, 120)
    assert 50 < length <= 100
    assert 120 % length == 0


@pytest.mark.slow
def test_the_callback_is_called_between_calls_and_changes_nothing(tmp_path):
    seen = []

    def callback(status) -> bool:
        params = jax.tree.map(np.array, status.state.params)  # a copy
        seen.append((status, params))
        return True

    alone = run_fit(tmp_path / "alone")
    observed = run_fit(tmp_path / "observed", callback=callback)
    assert same_bits(alone.state, observed.state)
    assert [status.step for status, _ in seen] == [0, 4, 8]
    assert same_bits(seen[-1][1], observed.state.params)
    assert not same_bits(seen[0][1], seen[1][1])
    assert seen[0][0].psnr is None
    records = Run(tmp_path / "observed").metrics()
    for (status, _), record in zip(seen[1:], records, strict=True):
        assert status.num_steps == 8
        np.testing.assert_allclose(status.psnr, record["psnr"], atol=1e-4)
        assert status.val_psnr == record["val_psnr"]


@pytest.mark.slow
def test_the_callback_can_pause_training(tmp_path):
    answers = iter([True, False, False, False, True, True])
    steps = []

    def callback(status) -> bool:
        steps.append(status.step)
        jax.block_until_ready(status.state.params)  # not donated yet
        return next(answers)

    fitted = run_fit(tmp_path, callback=callback)
    assert steps == [0, 4, 4, 4, 4, 8]
    assert int(fitted.state.step) == 8


@pytest.mark.slow
def test_a_signal_ends_a_pause(tmp_path):
    def callback(status) -> bool:
        if status.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return status.step == 0

    fitted = run_fit(tmp_path, callback=callback, num_steps=1000)
    assert fitted.interrupted_by == signal.SIGINT
    assert Run(tmp_path).checkpoints.latest() == 4
