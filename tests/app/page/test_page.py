"""The controls of a page, in a real browser, and what a page cannot hold."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nerf_jax.app import notebook, page
from nerf_jax.app.page import page_html, write_page
from nerf_jax.app.page.packing import method_config
from nerf_jax.app.runs import Run
from nerf_jax.config import ProposalConfig
from tests import small
from tests.app.page import made
from tests.app.test_trained import untrained
from tests.browser import WEBGL, fixture

NO_WEBGL = "HTMLCanvasElement.prototype.getContext = () => null;"


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    yield from fixture(*WEBGL)


@pytest.fixture(scope="module")
def scene():
    return made.scene(made.config(width=4, num_levels=2))


@pytest.fixture(scope="module")
def path(scene, tmp_path_factory) -> Path:
    return write_page(scene, tmp_path_factory.mktemp("page") / "scene.html")


def difference(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(image - other).mean())


@pytest.mark.slow
def test_each_control_does_what_it_says(scene, path, browser):
    with made.opened(browser, path) as opened:
        first, view = opened.image(), (opened.page.evaluate("state.view") + 1) % 4
        opened.click("next")
        second = opened.image()
        assert made.psnr(second, np.asarray(made.rendering(scene, view).rgb)) > 45
        named = f"{made.NAMES[view]} ({view + 1} of 4)"
        assert opened.page.locator("#view").text_content() == named
        for _ in range(3):
            opened.click("next")
        assert difference(opened.image(), first) == 0
        opened.click("tour")
        opened.wait_until("state.seconds > 0.3")
        assert opened.page.locator("#tour").get_attribute("aria-pressed") == "true"
        opened.click("tour")
        assert difference(opened.image(), first) > 0.01
        facts = opened.page.locator("#facts")
        assert facts.get_attribute("hidden") is not None
        opened.click("info")
        assert facts.get_attribute("hidden") is None
        assert "1 min 15 s" in facts.text_content()
        opened.page.keyboard.press("i")
        assert facts.get_attribute("hidden") is not None
        opened.page.keyboard.press("f")
        opened.wait_until("document.fullscreenElement !== null")


@pytest.mark.slow
def test_mouse_wheel_keys_and_touch_move_the_camera(path, browser):
    with made.opened(browser, path) as opened:
        page, images = opened.page, [opened.image()]

        def look() -> dict:
            images.append(opened.image())
            assert difference(images[-1], images[-2]) > 0.005
            return page.evaluate("state.camera")

        def distance(camera: dict) -> float:
            return float(np.linalg.norm(np.subtract(camera["position"], camera["target"])))

        before = page.evaluate("state.camera")
        page.mouse.move(16, 8)
        page.mouse.down()
        page.mouse.move(20, 10)
        page.mouse.up()
        orbited = look()
        assert orbited["target"] == before["target"]
        assert distance(orbited) == pytest.approx(distance(before))
        page.mouse.wheel(0, -200)
        zoomed = look()
        assert distance(zoomed) == pytest.approx(distance(before) * np.exp(-0.3))
        page.mouse.down(button="right")
        page.mouse.move(24, 10)
        page.mouse.up(button="right")
        panned = look()
        assert distance(panned) == pytest.approx(distance(zoomed))
        assert np.dot(np.subtract(panned["target"], zoomed["target"]), panned["right"]) < 0
        page.keyboard.down("ArrowLeft")
        page.wait_for_timeout(200)
        page.keyboard.up("ArrowLeft")
        look()
        page.evaluate(PINCH)
        assert distance(look()) < 0.8 * distance(panned)
        axes = np.array([page.evaluate(f"state.camera.{axis}") for axis in ("right", "up", "back")])
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)


PINCH = """
const finger = (kind, pointerId, clientX) => canvas.dispatchEvent(
  new PointerEvent(kind, { pointerId, clientX, clientY: 10, pointerType: "touch" }));
canvas.setPointerCapture = () => {};
finger("pointerdown", 11, 14);
finger("pointerdown", 12, 18);
finger("pointermove", 12, 22);
finger("pointerup", 11, 14);
finger("pointerup", 12, 22);
"""


@pytest.mark.slow
def test_without_webgl_there_is_a_picture_and_a_sentence(path, browser):
    with made.opened(browser, path, NO_WEBGL) as opened:
        assert "no WebGL 2" in opened.page.get_by_role("alert").text_content()
        assert (
            opened.page.locator("#still").evaluate("image => image.naturalWidth") == page.STILL_SIDE
        )


@pytest.mark.slow
def test_the_page_forbids_itself_the_network(path, browser):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(path.as_uri())
        blocked = page.evaluate(
            "fetch('https://example.org').then(() => 'loaded', () => 'blocked')"
        )
        assert blocked == "blocked"
        assert "default-src 'none'" in path.read_text()


@pytest.mark.slow
def test_a_notebook_embeds_the_page(scene, browser, tmp_path):
    shown = notebook.page(scene, height=48)
    assert shown.content == page_html(scene, 8)
    outer = tmp_path / "notebook.html"
    outer.write_text(f"<!doctype html><body style='margin: 0'>{shown._repr_html_()}")
    page = browser.new_page(viewport={"width": 64, "height": 64})
    page.goto(outer.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("html[data-state=sharp]").wait_for(state="attached")
    assert shown.save(tmp_path / "saved.html").read_text() == shown.content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid_resolution": 260, "num_candidates": 1024}, "model.grid_resolution is 260"),
        ({"num_candidates": 8192, "max_samples": 8192}, "model.num_candidates is 8192"),
        (
            {"max_entries": 2**23, "max_resolution": 4096, "num_levels": 9},
            "model.max_entries is 8388608",
        ),
    ],
)
def test_a_scene_that_no_page_holds_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        method_config(made.config(**change))


@pytest.mark.parametrize("model", [small.config().model, ProposalConfig()])
def test_other_methods_are_refused(model):
    with pytest.raises(ValueError, match="holds the field of 'hash' only"):
        method_config(replace(small.config(), model=model))


@pytest.mark.slow
def test_wide_networks_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model.width is 256, .* bytes of a network"):
        write_page(made.scene(made.config(width=256)), tmp_path / "scene.html")


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_to_is_named(scene, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"scene\.html: the page could not be written"):
        write_page(scene, tmp_path / "file" / "scene.html")


def test_a_scene_without_cameras_is_refused(tmp_path):
    without = untrained(rays=True)
    settings = made.config()
    with pytest.raises(ValueError, match="ray dataset, which has no cameras"):
        write_page(replace(without, config=settings, run=Run(tmp_path)), tmp_path / "scene.html")
