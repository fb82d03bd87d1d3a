"""A short campaign of kills and full disks."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from full_disk import full_run, small_disk
from interrupted import Setup, differences, end, end_state, start
from kills import killed_run, problems

from tests import small

CONFIG = """
from dataclasses import replace
from pathlib import Path
from tests import small

config = small.config(num_steps=40, checkpoint_every=4)
config = replace(config, data=replace(config.data, scene="ball", root=Path({root!r})))
"""


def small_setup(folder: Path) -> Setup:
    """A small scene and its config, and what the sessions of a run of them share."""
    small.write_blender(folder / "ball")
    (folder / "small.py").write_text(CONFIG.format(root=str(folder / "ball")))
    return Setup(folder / "small.py", folder / "run", folder / "cache")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """What the sessions share, and the end state and the seconds of a run."""
    setup = small_setup(tmp_path_factory.mktemp("interrupted"))
    began = time.monotonic()
    assert end(start(setup), 600)[:3] == (0, "ending", [])
    seconds = time.monotonic() - began
    return setup, end_state(setup.folder), seconds


@pytest.mark.slow
def test_a_killed_run_ends_like_any_other(reference):
    setup, expected, seconds = reference
    moments = iter([0.25 * seconds, 0.7 * seconds])  # it may be faster now, with all caches
    choose = SimpleNamespace(uniform=lambda low, high: next(moments))
    sessions = killed_run(setup, seconds, choose, most=2)
    assert len(sessions) > 1
    assert problems(sessions, setup.folder, expected) == []


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_nothing_is_lost(reference, tmp_path):
    setup, expected, _ = reference
    try:
        with small_disk(tmp_path / "disk") as disk:
            there = setup._replace(folder=disk / "run", cache=disk / "cache")
            full, wrong = full_run(there, disk, expected, moment=3.0, rest=20_000)
    except PermissionError as error:
        pytest.skip(f"only root may mount: {error}")
    assert full.code == 1
    assert wrong == []


@pytest.mark.slow  # as the others, which share its run
def test_differences_are_named(reference):
    setup, expected, _ = reference
    changed = setup.folder.with_name("changed")
    shutil.copytree(setup.folder, changed)
    (changed / "orbit.mp4").unlink()
    (changed / ".left").touch()
    results = json.loads((changed / "results.json").read_text()) | {"psnr": 1.0, "train_seconds": 9}
    (changed / "results.json").write_text(json.dumps(results))
    wrong = [".left", "orbit.mp4", "results.json"]
    assert differences(end_state(changed), expected) == wrong
