"""The viewer as a visitor has it: a real Chromium opens the page, drags, chooses and presses."""

import dataclasses
import io
import shutil
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from nerf_jax.app.fit import TrainingStatus
from nerf_jax.app.viewer import Learning, Stage, Viewer, jobs
from nerf_jax.app.viewer.server import HOST, free_port
from tests import small
from tests.app.viewer.pages import ball_method, ball_scene, photos_of_ball

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
RESOLUTION = 160
WINDOW = {"width": 1100, "height": 640}


@pytest.fixture(scope="module")
def browser():
    """One for all tests: it takes seconds to start."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium to open the page with: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A page that shows the ball."""
    scene = ball_scene(tmp_path_factory.mktemp("run"))
    port = free_port(20_000)
    photos, config = photos_of_ball(), dataclasses.replace(scene.config)
    with closing(Viewer(Stage(scene), config, ball_method(), photos, port)) as viewer:
        viewer.hang(photos)
        yield viewer


class Somebody:
    """A visitor: their browser's page, and what the server knows of them."""

    def __init__(self, browser, viewer: Viewer) -> None:
        known = set(viewer.visitors)
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport=WINDOW)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(viewer.url)
        until(lambda: set(viewer.visitors) - known)
        (number,) = set(viewer.visitors) - known
        self.me = viewer.visitors[number]
        self.controls = self.me.controls
        self.controls.resolution.value = RESOLUTION
        self.settle()

    def settle(self) -> None:
        """Until the picture is as sharp as it will be, and has had time to be drawn."""
        for _ in range(2):
            time.sleep(0.25)
            until(lambda: self.is_served)
        self.page.evaluate(TWO_FRAMES)

    @property
    def is_served(self) -> bool:
        drawing = self.me.drawing
        drawn = drawing._drawn
        return (
            drawn is not None
            and drawn.is_final
            and drawn.wish.key == self.me._wish().key
            and drawing._shown == self.me._look()
        )

    def canvas(self) -> dict[str, float]:
        return self.page.locator("canvas").first.bounding_box()

    def picture(self) -> np.ndarray:
        """What the canvas shows, in [0, 1]."""
        self.page.bring_to_front()  # a page behind another draws nothing
        shot = self.page.screenshot(clip=self.canvas())
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")) / 255

    def shows(self, color, corner=None, atol: float = 0.05) -> None:
        """A colour in the middle of the canvas and perhaps one in a corner, or will soon."""
        until(lambda: np.allclose(self.middle(), color, atol=atol), 20, self.middle)
        if corner is not None:
            until(lambda: np.allclose(self.corner(), corner, atol=0.03), 20, self.corner)

    def shows_the_ball(self, corner=(1, 1, 1)) -> None:
        """Which is of the colour of its normal: in the middle, that points at the camera."""
        self.shows(0.5 - 0.5 * self.me.view().ahead, corner)

    def middle(self) -> np.ndarray:
        """The mean colour of the middle of the canvas."""
        picture = self.picture()
        height, width = picture.shape[:2]
        part = picture[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8]
        return part.mean(axis=(0, 1))

    def corner(self) -> np.ndarray:
        """The mean colour near the lower right corner of the canvas, aside from panels' shadows."""
        return self.picture()[-50:-30, -60:-40].mean(axis=(0, 1))

    def drag(self, right: float, down: float) -> None:
        box = self.canvas()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + right, y + down, steps=4)
        self.page.mouse.up()
        time.sleep(0.3)

    def close_notices(self) -> None:
        """Which cover the picture."""
        notices = self.page.locator(".mantine-Notification-closeButton")
        while notices.count():
            notices.first.click()
            time.sleep(0.3)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def choose(self, label: str, option: str) -> None:
        """In a list of choices, by the mouse."""
        row = self.page.get_by_text(label, exact=True)
        row.locator("xpath=following::input[1]").click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def reads(self, text: str) -> None:
        """The page says so, or will soon."""
        self.page.get_by_text(text).first.wait_for(timeout=30_000)


def until(what, seconds: float = 60.0, found=lambda: "nothing") -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"it never came; there was {found()}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def shared(browser, served):
    """A visitor who stays for several tests: opening a page takes seconds."""
    somebody = Somebody(browser, served)
    somebody.controls.cameras.value = False
    yield somebody
    assert not somebody.complaints
    somebody.page.close()


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Where what each test left on the page is kept, to be looked at."""
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def somebody(shared, album, request):
    """Them, as they were when they came."""
    controls = shared.controls
    controls.show.value, controls.background.value = "Colour", "White"
    controls.cameras.value = controls.crop.value = False
    controls.resolution.value = RESOLUTION
    shared.me.go(shared.me.photos.typical())
    shared.close_notices()
    shared.settle()
    yield shared
    shared.page.bring_to_front()
    shared.page.screenshot(path=album / f"{request.node.name}.png")


def test_the_page_shows_the_scene(somebody):
    somebody.shows_the_ball()
    picture = somebody.picture()
    assert picture.shape[0] > 500
    above, below = (picture[rows, picture.shape[1] // 2] for rows in (150, -150))
    assert above[2] > below[2] + 0.2, "the right way up: z is blue"


def test_dragging_turns_it(somebody):
    before, colors = somebody.me.view(), somebody.middle()
    somebody.drag(150, 0)
    somebody.settle()
    after = somebody.me.view()
    assert np.linalg.norm(after.origin - before.origin) > 1
    np.testing.assert_allclose(
        np.linalg.norm(after.origin), np.linalg.norm(before.origin), rtol=0.01
    )
    assert np.abs(somebody.middle() - colors).max() > 0.1
    somebody.shows_the_ball()


def test_coarse_pictures_come_while_dragging(somebody):
    sizes = []
    show = somebody.me.drawing._show
    somebody.me.drawing._show = lambda drawn, picture: (
        sizes.append(picture.pixels.shape[:2]),
        show(drawn, picture),
    )
    for step in range(6):
        somebody.drag(20 * (-1) ** step, 5)
    somebody.settle()
    somebody.me.drawing._show = show
    assert len(sizes) >= 4
    assert max(sizes[-1]) == RESOLUTION


def test_the_wheel_zooms(somebody):
    box, before = somebody.canvas(), somebody.me.view()
    somebody.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    somebody.page.mouse.wheel(0, 200)
    somebody.settle()
    far = np.linalg.norm(somebody.me.view().origin) / np.linalg.norm(before.origin)
    assert far > 1.1
    somebody.shows_the_ball()


def test_what_is_shown_can_be_chosen(somebody):
    somebody.choose("Show", "Opacity")
    somebody.settle()
    assert somebody.controls.show.value == "Opacity"
    somebody.shows(1, corner=0)
    somebody.choose("Show", "Normals")
    somebody.settle()
    somebody.shows_the_ball()
    somebody.choose("Show", "Depth")
    somebody.settle()
    red, _, blue = somebody.middle()
    assert red > blue + 0.3, "near is red"
    somebody.reads("Red is 3")


def test_the_background_can_be_chosen(somebody):
    somebody.choose("Background", "Black")
    somebody.shows_the_ball(corner=0)
    somebody.controls.background.value = "Colour"
    somebody.controls.color.value = (255, 0, 128)
    somebody.shows_the_ball(corner=(1, 0, 0.5))


def ball_width(somebody) -> int:
    """In pixels of the screen."""
    picture = somebody.picture()
    return int(np.sum(np.any(picture[picture.shape[0] // 2] < 0.9, axis=-1)))


def test_the_field_of_view(somebody):
    before = ball_width(somebody)
    somebody.controls.fov.value = 70.0
    somebody.settle()
    assert np.isclose(np.degrees(somebody.me.view().fov_radians), 70, atol=0.1)
    degrees = np.degrees(somebody.me.photos.typical().fov_radians)
    ratio = np.tan(np.radians(degrees / 2)) / np.tan(np.radians(35))
    assert abs(ball_width(somebody) / before - ratio) < 0.03


def test_the_resolution(somebody):
    edges = []
    for resolution in (64, 320):
        somebody.controls.resolution.value = resolution
        somebody.settle()
        assert max(somebody.me.drawing._drawn.seen.opacity.shape) == resolution
        picture = somebody.picture()
        row = picture[picture.shape[0] // 2].mean(axis=-1)
        edges.append(np.abs(np.diff(row)).max())
    assert edges[1] > 1.5 * edges[0], "sharper"


def test_the_crop_box(somebody):
    """All that is left of the ball is above its equator, so that the lower half is empty."""
    somebody.controls.sides[2].value = (0.0, 6.0)
    somebody.controls.crop.value = True

    def is_halved() -> bool:
        picture = somebody.picture()
        column, middle = picture[:, picture.shape[1] // 2], len(picture) // 2
        above, below = column[middle - 60 : middle - 40], column[middle + 110 : middle + 200]
        return bool((above < 0.9).any(axis=-1).all() and (below > 0.98).all())

    until(is_halved, 20)
    somebody.controls.crop.value = False
    somebody.settle()
    somebody.shows_the_ball()


def test_the_photo_beside_it_and_its_place(somebody):
    """Dragged away, back by the button: what is shown is what the photo shows."""
    somebody.drag(60, 20)
    somebody.settle()
    number = somebody.me.photos.nearest(somebody.me.view())
    somebody.reads(f"Nearest: photo_{number}")
    pictures = somebody.page.locator("img")
    until(lambda: any(image.bounding_box() for image in pictures.all()))
    somebody.press("Look from there")
    somebody.settle()
    view, photo = somebody.me.view(), somebody.me.photos.view(number)
    np.testing.assert_allclose(view.world_from_camera, photo.world_from_camera, atol=1e-3)
    assert np.isclose(view.fov_radians, photo.fov_radians, atol=1e-4)


def test_a_click_on_a_camera_goes_there(somebody):
    """From far above all of them are seen."""
    somebody.controls.cameras.value = True
    photos = somebody.me.photos
    pose = photos.typical().world_from_camera.copy()
    pose[:, 3] *= 3
    somebody.me.go(photos.typical()._replace(world_from_camera=pose))
    somebody.settle()
    view, box = somebody.me.view(), somebody.canvas()
    for number in range(4):
        photo = photos.view(number)
        place = photo.origin + 0.5 * photos.spacing * photo.ahead
        right, up, back = view.world_from_camera[:, :3].T @ (place - view.origin)
        scale = box["height"] / 2 / np.tan(view.fov_radians / 2) / -back
        x, y = box["width"] / 2 + scale * right, box["height"] / 2 - scale * up
        hidden = np.linalg.norm((x - box["width"] / 2, y - box["height"] / 2)) < 120
        if 20 < x < box["width"] - 20 and 20 < y < box["height"] - 20 and not hidden:
            break
    else:
        pytest.fail("no camera is seen")
    before = somebody.picture()
    somebody.page.mouse.click(box["x"] + x, box["y"] + y)
    until(lambda: np.allclose(somebody.me.view().origin, photo.origin, atol=1e-3))
    somebody.settle()
    assert np.abs(somebody.picture() - before).mean() > 0.02
    somebody.shows_the_ball()


def test_a_picture_is_saved(somebody, served):
    somebody.press("Picture")
    until(lambda: ".png" in somebody.controls.made.content)
    path = Path(somebody.controls.made.content.split("`")[1])
    somebody.reads(path.name)
    saved = np.asarray(Image.open(path)) / 255
    assert max(saved.shape[:2]) == RESOLUTION
    height, width = saved.shape[:2]
    middle = saved[height // 2, width // 2]
    np.testing.assert_allclose(middle, 0.5 - 0.5 * somebody.me.view().ahead, atol=0.05)


def test_key_frames_are_filmed(somebody):
    somebody.page.get_by_text("Film", exact=True).click()
    time.sleep(0.7)  # it opens slowly, and its buttons move
    somebody.press("Film it")
    until(lambda: somebody.controls.made.content == "Film: failed")
    somebody.reads("a film needs two key frames or more")
    somebody.press("Add this view")
    somebody.reads("1 key frame.")
    somebody.drag(120, 0)
    somebody.settle()
    somebody.press("Add this view")
    somebody.reads("2 key frames.")
    somebody.controls.seconds.value, somebody.controls.fps.value = 0.5, 8.0
    somebody.press("Film it")
    until(lambda: ".mp4" in somebody.controls.made.content)
    path = Path(somebody.controls.made.content.split("`")[1])
    somebody.reads(path.name)
    frames = small.read_video(path) / 255
    height, width = frames.shape[1:3]
    assert len(frames) == 4
    assert max(height, width) == RESOLUTION
    first, last = somebody.me.keys
    for frame, key in ((frames[0], first), (frames[-1], last)):
        middle = frame[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4]
        np.testing.assert_allclose(middle.mean(axis=(0, 1)), 0.5 - 0.5 * key.ahead, atol=0.1)
    somebody.me.go(first)
    somebody.settle()
    somebody.press("Preview")
    until(lambda: np.allclose(somebody.me.view().origin, last.origin, atol=0.01))
    somebody.press("Drop the last one")
    somebody.reads("1 key frame.")


def test_a_mesh_is_exported_or_the_page_says_why_not(somebody, monkeypatch):
    def export(scene, crop, tell):
        assert crop is None
        tell("cell", 1, 2)
        path = scene.run.folder / "mesh.ply"
        path.write_text("ply")
        return [path]

    monkeypatch.setattr(jobs, "mesh", export)
    somebody.press("Mesh")
    somebody.reads("mesh.ply")
    monkeypatch.setattr(jobs, "mesh", lambda scene, crop, tell: 1 / 0)
    somebody.press("Mesh")
    somebody.reads("division by zero")


def test_several_visitors_and_those_who_come_again(browser, served, somebody):
    """Each has a view and choices of their own; who leaves takes nothing along."""
    other = Somebody(browser, served)
    other.controls.cameras.value = False
    other.controls.show.value = "Opacity"
    other.drag(200, 30)
    other.settle()
    other.shows(1, corner=0)
    somebody.shows_the_ball()
    assert np.linalg.norm(other.me.view().origin - somebody.me.view().origin) > 0.5
    other.page.close()
    until(lambda: other.me not in served.visitors.values())
    other.me.drawing._thread.join(10)
    assert not other.me.drawing._thread.is_alive()
    somebody.drag(50, 0)
    somebody.settle()
    somebody.shows_the_ball()
    again = Somebody(browser, served)
    assert again.controls.show.value == "Colour"
    again.shows_the_ball()
    assert not again.complaints + other.complaints
    again.page.close()


def test_training_is_looked_on_and_paused(browser, tmp_path):
    scene = ball_scene(tmp_path)
    learning = Learning(Stage(), lambda state: dataclasses.replace(scene, state=state))
    steps, ended = [0], threading.Event()

    def train() -> None:
        while not ended.wait(0.05):
            state = scene.state._replace(step=jnp.int32(steps[0]))
            steps[0] += learning(TrainingStatus(state, steps[0], 4000, 21.5, None))

    port, method, photos = free_port(20_100), ball_method(), photos_of_ball()
    trainer = threading.Thread(target=train)
    with closing(Viewer(learning.stage, scene.config, method, photos, port, learning)) as viewer:
        trainer.start()
        try:
            somebody = Somebody(browser, viewer)
            somebody.reads("PSNR 21.50 dB")
            somebody.press("Pause")
            until(lambda: learning.paused)
            somebody.settle()
            halted = steps[0]
            time.sleep(0.5)
            assert steps[0] == halted
            until(lambda: somebody.me.drawing._drawn.step == halted)
            somebody.reads(f"Step {halted} of 4000")
            somebody.press("Go on")
            until(lambda: steps[0] > halted + 5)
            somebody.page.close()
        finally:
            ended.set()
            trainer.join(10)


def test_a_port_that_is_taken(tmp_path, capsys):
    scene = ball_scene(tmp_path)
    with socket.socket() as taken:
        taken.bind((HOST, free_port(21_000)))
        taken.listen()
        port = taken.getsockname()[1]
        with closing(
            Viewer(Stage(scene), scene.config, ball_method(), photos_of_ball(), port)
        ) as viewer:
            assert viewer.port > port
            told = capsys.readouterr().out
            assert f"port {port} is taken: {viewer.port} instead" in told
            assert f"viewer: http://127.0.0.1:{viewer.port}" in told
            assert f"ssh -L {viewer.port}:127.0.0.1:{viewer.port} " in told
            with socket.create_connection((HOST, viewer.port), timeout=5) as page:
                page.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert page.recv(100).startswith(b"HTTP/1.1 200")
