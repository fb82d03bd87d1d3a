"""A short fuzz campaign: mutated inputs give a scene or one line, and never a wrong scene."""

import random

import fuzz
import mutations
import numpy as np
import pytest
from fuzz_formats import FORMATS

COUNTS = {"runs": 8, "reports of runs": 6, "masks and photos": 12}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_mutated_inputs(name):
    pytest.importorskip("pycolmap")
    found = list(fuzz.outcomes(FORMATS[name][0], range(COUNTS.get(name, 24)), seed=1))
    assert not [each for each in found if each[0] not in fuzz.GOOD]


def test_the_campaign_has_10_000_inputs():
    assert sum(count for _, count in FORMATS.values()) == 10_000


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda root: {"a": 1.0}, "read"),
        (lambda root: {"a": 2.0}, "misread"),
        (lambda root: _raise(ValueError(f"{root}: is empty")), "refused"),
        (lambda root: _raise(ValueError("is empty")), "message"),
        (lambda root: _raise(OSError(f"{root}:\nis empty")), "message"),
        (lambda root: _raise(KeyError(f"{root}")), "error"),
        (lambda root: np.float32(1e30) * np.float32(1e30), "error"),
    ],
)
def test_outcomes_are_told_apart(tmp_path, read, expected):
    form = FORMATS["LLFF"][0]._replace(read=read, expect=lambda root: {"a": 1.0})
    assert fuzz._outcome(form, tmp_path)[0] == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_mutations_differ_and_repeat(name, tmp_path):
    FORMATS[name][0].write(tmp_path)
    path = next(p for each in FORMATS[name][0].files for p in tmp_path.glob(each) if p.is_file())
    content, rounds = path.read_bytes(), range(30)
    first, second = (
        [mutations.mutate(content, path.suffix, random.Random(i)) for i in rounds] for _ in range(2)
    )
    assert first == second
    assert sum(each != content for each in first) > 20
