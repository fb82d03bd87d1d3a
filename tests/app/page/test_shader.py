"""The page draws what the method renders, in a real browser: random fields of all kinds."""

import functools
from collections.abc import Iterator

import numpy as np
import pytest

from nerf_jax.app import page
from nerf_jax.app.images import color_depth
from nerf_jax.app.page.views import start_view
from nerf_jax.app.trained import Trained
from nerf_jax.types import Rendering
from tests.app.page import made
from tests.browser import WEBGL, fixture

BASE = {"space": "box", "box_radius": 1.2}
CASES = {
    "box": BASE,
    "contracted": {"space": "contracted", "box_radius": 1.0, "environment": True},
    "frustum": {"space": "frustum", "environment": True, "code_size": 3},
    "cones in a box": BASE | {"footprint": "cone", "background": "black"},
    "cones, contracted": {"space": "contracted", "box_radius": 0.5, "footprint": "cone"},
    "cones in a frustum": {"space": "frustum", "footprint": "cone"},
    "one feature": BASE | {"num_features": 1},
    "two features": BASE | {"num_features": 2, "pose_learning_rate": 1e-3},
    "three features": BASE | {"num_features": 3, "num_levels": 1},
    "six features": BASE | {"num_features": 6, "width": 10},
    "entries not a power of two": BASE | {"max_entries": 999, "max_resolution": 200},
    "all opaque": BASE | {"density_bias": 8.0, "min_transmittance": 0.0, "min_alpha": 0.0},
}

VARIANTS = [
    *((name, 16, "", 45) for name in CASES),
    # With the networks in buffers, and with features in 8 bits: where their sizes differ.
    *((name, 16, made.AS_ON_A_GPU, 45) for name in ("box", "frustum", "six features")),
    *((name, 8, "", 38) for name in ("contracted", "one feature", "two features", "six features")),
]


@functools.cache
def scene_and_rendering(name: str) -> tuple[Trained, Rendering]:
    """Rendered once for all variants of a page."""
    scene = made.scene(made.config(**CASES[name]))
    return scene, made.rendering(scene, start_view(scene.cameras()))


@pytest.fixture(autouse=True)
def small_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture that a page shows at first, in 64 pixels: quicker to render on a CPU."""
    monkeypatch.setattr(page, "STILL_SIDE", 64)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    yield from fixture(*WEBGL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bits", "script", "least"),
    VARIANTS,
    ids=[
        f"{name}, {bits} bits" + ", as on a GPU" * bool(script)
        for name, bits, script, _ in VARIANTS
    ],
)
def test_a_page_shows_what_is_rendered(browser, tmp_path, name, bits, script, least):
    scene, rendered = scene_and_rendering(name)
    assert np.asarray(rendered.opacity).std() > 0.1  # something, but not everywhere
    depths = np.asarray(rendered.median_depth), np.asarray(rendered.opacity)
    path = page.write_page(scene, tmp_path / "scene.html", bits)
    depth_range = made.settings_of(path.read_text())["depthRange"]
    with made.opened(browser, path, script) as shown:
        assert made.psnr(shown.image(), np.asarray(rendered.rgb)) > least
        assert shown.page.evaluate("isSoftware(canvas.getContext('webgl2'))") is not bool(script)
        shown.click("depth")
        # At edges, a step of the colours.
        assert made.psnr(shown.image(), color_depth(*depths, *depth_range)) > least - 7
