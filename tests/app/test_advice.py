"""Advice from the metrics of training, and none where all is well."""

import pytest

from nerf_jax.app.advice import advise
from nerf_jax.config import Config, NerfConfig, TrainConfig, TutorialConfig
from tests.methods.test_hash_grid import HASH


@pytest.mark.parametrize(
    ("means", "spoken"),
    [
        ({"outside": 0.0, "kept": 1.0, "step": 5000}, set()),
        ({"outside": 0.01, "kept": 0.1, "step": 5000}, set()),
        ({"outside": 0.02, "kept": 1.0, "step": 5}, {"outside"}),
        ({"outside": 0.0, "kept": 0.09, "step": 1024}, set()),
        ({"outside": 0.0, "kept": 0.09, "step": 1025}, {"kept"}),
        ({"outside": 0.5, "kept": 0.01, "step": 5000}, {"outside", "kept"}),
        ({"outside": 0.0, "kept": 1.0, "step": 5, "samples": 0.0}, {"samples"}),
    ],
)
def test_advice_is_given_where_it_is_needed(means: dict[str, float], spoken: set[str]):
    advice = advise(Config(model=HASH), {"samples": 100.0, **means})
    assert set(advice) == spoken
    if "outside" in spoken:
        assert "--model.box_radius" in advice["outside"]
        assert "1.2" in advice["outside"]
    if "samples" in spoken:
        assert "--model.density_bias (now -1.2)" in advice["samples"]
    if "kept" in spoken:
        assert "--model.max_samples (now 2048)" in advice["kept"]


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        (TutorialConfig(), "another --train.seed (now 7)"),
        (NerfConfig(), "--model.density_activation softplus"),
    ],
)
def test_a_scene_without_density_is_reported_with_the_remedy(model, remedy: str):
    config = Config(model=model, train=TrainConfig(seed=7))
    assert advise(config, {"loss": 1.0, "opacity": 1e-9, "step": 1}) == {}
    (message,) = advise(config, {"loss": 1.0, "opacity": 0.0, "step": 1}).values()
    assert "the density is zero along every ray" in message
    assert remedy in message


def test_of_methods_without_these_metrics_there_is_none():
    assert advise(Config(), {"loss": 1.0, "mse": 1.0, "step": 5000}) == {}
