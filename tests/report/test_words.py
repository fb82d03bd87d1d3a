"""Numbers and protocols, as people read them."""

import math

import pytest

from nerf_jax.report import words
from tests.report import made


def test_numbers():
    assert words.fixed(3.14159, 2) == "3.14"
    assert words.count(1234567) == "1,234,567"
    assert words.seconds(3.26) == "3.3 s"
    assert words.seconds(75) == "1 min 15 s"
    assert {words.fixed(math.nan, 2), words.count(math.inf), words.seconds(math.nan)} == {
        words.NOTHING
    }


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e-15, "1e-15"), (0, "0"), (1, "1"), (True, "yes"), (None, "none"), ((1.0, 2.5), "1, 2.5")],
)
def test_settings(value, said):
    assert words.setting(value) == said


@pytest.mark.parametrize(
    ("number", "said"), [(2, "2nd"), (3, "3rd"), (11, "11th"), (12, "12th"), (21, "21st")]
)
def test_ordinals(number, said):
    assert words.ordinal(number) == said


def test_a_protocol_says_what_the_scores_mean():
    values = made.results({"a": 30.0, "b": 20.0}, 16)["protocol"]
    told = dict(words.protocol(values))
    assert told["views"] == "2: all of the split “val”, none of them learned from"
    assert told["size"] == "16 \N{MULTIPLICATION SIGN} 16 pixels"
    assert told["PSNR"] == "mean of per-image values"
    other = values | {"split": "train", "every": 12, "downscale": 2, "lens_correction": "off"}
    told = dict(words.protocol(other))
    assert told["views"] == "2: every 12th of the split “train”, which was learned from"
    assert told["size"].endswith("2 times smaller than the files")
    assert told["lens correction"] == "off"
