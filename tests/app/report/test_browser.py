"""The report in a real browser: no network requests, no errors, and working controls."""

from collections.abc import Iterator

import pytest

from nerf_jax.app.report import write_report
from nerf_jax.app.report.comparison import compare
from tests.app.report import made
from tests.browser import fixture


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    yield from fixture()


@pytest.fixture
def visit(browser):
    """Open a page; fail at the end if it logged an error or loaded another file."""
    errors, loaded = [], []

    def opened(path, **how):
        page = browser.new_page(**how)
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: loaded.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    assert errors == []
    assert {address.split(":")[0] for address in loaded} <= {"file", "data"}
    assert sum(address.startswith("file:") for address in loaded) == 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made.write_run(tmp_path_factory.mktemp("runs") / "a")


def color_at(page, slider, part: float) -> str:
    """Which picture is seen at a part of a slider's width, by what is painted there."""
    picture = slider.screenshot()
    return page.evaluate(
        """async ([bytes, part]) => {
            const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
            const canvas = new OffscreenCanvas(image.width, image.height);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const [r, g, b] = context.getImageData(part * image.width, image.height / 4, 1, 1).data;
            return r > b ? "red" : "blue";
        }""",
        [list(picture), part],
    )


@pytest.mark.slow
def test_the_slider_moves(run, visit):
    page = visit(write_report(run))
    slider = page.locator(".slider").first
    assert [color_at(page, slider, part) for part in (0.3, 0.7)] == ["red", "blue"]
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.up()
    assert slider.locator("input").input_value() == "90"
    assert [color_at(page, slider, part) for part in (0.3, 0.7)] == ["red", "red"]
    slider.locator("input").press("Home")
    assert [color_at(page, slider, part) for part in (0.3, 0.7)] == ["blue", "blue"]


def test_the_table_sorts(run, visit):
    page = visit(write_report(run))

    def names() -> list[str]:
        return page.locator(".sortable tbody th span").all_text_contents()

    assert names() == ["r_1", "r_3", "r_5", "r_0", "r_4", "b/r_2"]
    page.get_by_role("button", name="PSNR, dB").click()
    assert names() == ["b/r_2", "r_4", "r_0", "r_5", "r_3", "r_1"]
    head = page.locator(".sortable th[aria-sort=descending]")
    assert head.text_content().strip() == "PSNR, dB"
    page.get_by_role("button", name="view").click()
    assert names() == ["b/r_2", "r_0", "r_1", "r_3", "r_4", "r_5"]


@pytest.mark.slow
def test_curves_tell_their_values(run, visit):
    page = visit(write_report(run))
    svg = page.locator(".plot[data-axes] svg").first
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    at = 42 + 0.5 * (428 - 42)  # the middle of the frame: step 100 of 200
    page.mouse.move(box["x"] + box["width"] * at / 440, box["y"] + box["height"] / 2)
    plot = page.locator(".plot[data-axes]").first
    assert plot.locator(".at").text_content() == "at step 100"
    assert plot.locator("output").all_text_contents() == ["24.0", "21.0"]
    page.mouse.move(0, 0)
    assert plot.locator("output").all_text_contents() == ["29.0", "27.0"]


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_hangs_over_the_edge(run, visit, width):
    page = visit(write_report(run), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_dark_is_dark_and_paper_is_white(run, visit):
    page = visit(write_report(run), color_scheme="dark")
    luminance = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(luminance) == "rgb(19, 20, 22)"
    page.emulate_media(media="print")
    assert page.evaluate(luminance) == "rgb(255, 255, 255)"


@pytest.mark.slow
def test_two_runs_laid_over_each_other(run, visit):
    other = made.write_run(run.folder.parent / "b", learning_rate=1e-3)
    page = visit(compare([run, other]), viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    slider = page.locator(".slider").first
    assert slider.locator(".tag").all_text_contents() == ["A", "B"]
    assert color_at(page, slider, 0.2) == "blue"
    page.get_by_label("on the left").first.select_option("truth")
    assert slider.locator(".tag").all_text_contents() == ["truth", "B"]
    assert [color_at(page, slider, part) for part in (0.3, 0.7)] == ["red", "blue"]
