"""The page draws what the method renders, in a real browser: random fields of all kinds."""

from collections.abc import Iterator

import numpy as np
import pytest

from nerf_jax.app.images import color_depth
from nerf_jax.app.page import write_page
from nerf_jax.app.page.views import start_view
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
    scene = made.scene(made.config(**CASES[name]))
    rendered = made.rendering(scene, start_view(scene.cameras()))
    assert np.asarray(rendered.opacity).std() > 0.1  # something, but not everywhere
    depths = np.asarray(rendered.median_depth), np.asarray(rendered.opacity)
    path = write_page(scene, tmp_path / "scene.html", bits)
    depth_range = made.settings_of(path.read_text())["depthRange"]
    with made.opened(browser, path, script) as page:
        assert made.psnr(page.image(), np.asarray(rendered.rgb)) > least
        assert page.page.evaluate("isSoftware(canvas.getContext('webgl2'))") is not bool(script)
        page.click("depth")
        # At edges, a step of the colours.
        assert made.psnr(page.image(), color_depth(*depths, *depth_range)) > least - 7
