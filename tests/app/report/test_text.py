"""Numbers and protocols, as people read them."""

import math

import pytest

from nerf_jax.app.report import text
from tests.app.report import made


def test_numbers():
    assert text.fixed(3.14159, 2) == "3.14"
    assert text.count(1234567) == "1,234,567"
    assert text.seconds(3.26) == "3.3 s"
    assert text.seconds(75) == "1 min 15 s"
    assert {text.fixed(math.nan, 2), text.count(math.inf), text.seconds(math.nan)} == {text.DASH}


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e-15, "1e-15"), (0, "0"), (1, "1"), (True, "yes"), (None, "none"), ((1.0, 2.5), "1, 2.5")],
)
def test_settings(value, said):
    assert text.setting(value) == said


@pytest.mark.parametrize(
    ("number", "said"), [(2, "2nd"), (3, "3rd"), (11, "11th"), (12, "12th"), (21, "21st")]
)
def test_ordinals(number, said):
    assert text.ordinal(number) == said


def test_a_protocol_says_what_the_scores_mean():
    values = made.results({"a": 30.0, "b": 20.0}, 16)["protocol"]
    told = dict(text.protocol(values))
    assert told["views"] == "2: all of the split “val”, none of them used for training"
    assert told["size"] == "16 \N{MULTIPLICATION SIGN} 16 pixels"
    assert told["PSNR"] == "mean of per-image values"
    other = values | {"split": "train", "every": 12, "downscale": 2, "lens_correction": "off"}
    told = dict(text.protocol(other))
    assert told["views"] == "2: every 12th of the split “train”, which was used for training"
    assert told["size"].endswith("2 times smaller than the files")
    assert told["lens correction"] == "off"
