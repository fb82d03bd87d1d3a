"""Two real processes on loopback: they train as one process with two devices, and survive kills."""

import shutil

import pytest
from interrupted import Setup, differences, end, end_state, start
from processes import end_two, kill_one, start_two

from nerf_jax.app.runs import Run
from tests.benchmarks.test_interruptions import small_setup

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """What the sessions share, and the end state of two processes."""
    setup = small_setup(tmp_path_factory.mktemp("processes"))
    sessions = end_two(start_two(setup), 600)
    assert [session.code for session in sessions] == [0, 0], sessions
    assert sessions[1].errors == []
    return setup, end_state(setup.folder)


def newest_step(setup: Setup) -> int:
    return Run(setup.folder).checkpoints.latest() or 0


def test_they_train_as_one_process_with_two_devices(reference):
    setup, two = reference
    alone = setup._replace(folder=setup.folder.with_name("alone"))
    assert end(start(alone, devices=2), 600).code == 0
    one = end_state(alone.folder)
    arrays = [name for name in one if name.startswith("[")]
    assert len(arrays) > 10
    assert [name for name in arrays if one[name] != two[name]] == []
    assert one.keys() == two.keys()  # the same files
    assert one["metrics.jsonl"] == two["metrics.jsonl"]
    resumed = end(start(alone, "--train.num-steps", "44"), 600)  # on one device
    assert any("another number of devices, 1 after 2:" in line for line in resumed.lines)


def test_the_other_ends_and_the_run_resumes(reference):
    setup, expected = reference
    shutil.rmtree(setup.folder)
    for victim, step in ((0, 8), (1, 16)):
        killed = kill_one(setup, victim, lambda at=step: newest_step(setup) >= at)
        assert killed is not None
        assert killed.problems == []
    assert [session.code for session in end_two(start_two(setup), 600)] == [0, 0]
    assert differences(end_state(setup.folder), expected) == []


def test_configs_that_differ_are_one_line(reference):
    setup, _ = reference
    processes = start_two(setup._replace(folder=setup.folder.with_name("other")), "--train.seed")
    for session in end_two(processes, 600):
        assert session.code == 1
        assert len(session.errors) == 1
        assert "train.seed is 0 in process 0" in session.errors[0]
