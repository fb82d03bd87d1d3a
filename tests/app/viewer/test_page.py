"""The viewer's page in a real Chromium: drag the mouse, choose options, press buttons."""

import dataclasses
import io
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
from nerf_jax.app.viewer import LiveTraining, Viewer, jobs, open_viewer
from nerf_jax.app.viewer.server import HOST, free_port
from tests import small
from tests.app.viewer.pages import ball_scene, photos_of_ball
from tests.browser import WEBGL, fixture

TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
NOTICE = ".mantine-Notification-closeButton"
CLOSE_NOTICES = f"() => document.querySelectorAll('{NOTICE}').forEach(button => button.click())"
RESOLUTION = 160
WINDOW = {"width": 1100, "height": 640}


@pytest.fixture(scope="module")
def browser():
    """One for all tests: it takes seconds to start."""
    yield from fixture(*WEBGL)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A page that shows the ball."""
    scene = ball_scene(tmp_path_factory.mktemp("run"))
    with closing(open_viewer(scene, free_port(20_000))) as viewer:
        viewer.add_photos(photos_of_ball().pixels)
        yield viewer


class User:
    """A browser's page, and the server's client that belongs to it."""

    def __init__(self, browser, viewer: Viewer) -> None:
        known = set(viewer.clients)
        self.errors: list[str] = []
        self.page = browser.new_page(viewport=WINDOW)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(viewer.url)
        until(lambda: set(viewer.clients) - known)
        (number,) = set(viewer.clients) - known
        self.client = viewer.clients[number]
        self.photos, self.controls = viewer.scene_state.photos, self.client.controls
        self.controls.resolution.value = RESOLUTION
        self.settle()

    def settle(self) -> None:
        """Wait until the final picture has been sent and view."""
        for _ in range(2):
            time.sleep(0.25)
            until(lambda: self.is_served)
        self.page.evaluate(TWO_FRAMES)

    @property
    def is_served(self) -> bool:
        loop = self.client.render_loop
        view = loop.last_view
        return (
            view is not None
            and view.is_final
            and view.request.key == self.client.request().key
            and loop.last_options == self.client.options()
        )

    def canvas(self) -> dict[str, float]:
        return self.page.locator("canvas").first.bounding_box()

    def picture(self) -> np.ndarray:
        """The pixels of the canvas, in [0, 1]."""
        self.page.bring_to_front()  # a hidden page draws nothing
        shot = self.page.screenshot(clip=self.canvas())
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")) / 255

    def shows(self, color, corner=None, atol: float = 0.05) -> None:
        """Wait for a colour in the middle of the canvas, and for one in a corner if given."""
        until(lambda: np.allclose(self.middle(), color, atol=atol), 20, self.middle)
        if corner is not None:
            until(lambda: np.allclose(self.corner(), corner, atol=0.03), 20, self.corner)

    def shows_the_ball(self, corner=(1, 1, 1)) -> None:
        """Wait for the colour of the ball's normal, which points at the camera in the middle."""
        self.shows(0.5 - 0.5 * self.client.viewpoint().forward, corner)

    def middle(self) -> np.ndarray:
        """The mean colour of the middle of the canvas."""
        picture = self.picture()
        height, width = picture.shape[:2]
        part = picture[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8]
        return part.mean(axis=(0, 1))

    def corner(self) -> np.ndarray:
        """The mean colour near the lower right corner, outside the panels' shadows."""
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
        """Close the notifications, which cover the picture."""
        # In one call: a notification that closes by itself cannot be waited for and clicked.
        self.page.evaluate(CLOSE_NOTICES)
        until(lambda: not self.page.locator(NOTICE).count())

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def choose(self, label: str, option: str) -> None:
        """Choose an option of a dropdown list with the mouse."""
        row = self.page.get_by_text(label, exact=True)
        row.locator("xpath=following::input[1]").click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def reads(self, text: str) -> None:
        """Wait for a text in the page."""
        self.page.get_by_text(text).first.wait_for(timeout=30_000)


def until(what, seconds: float = 60.0, found=lambda: "nothing") -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"timed out; there was {found()}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def shared(browser, served):
    """One page for several tests: opening it takes seconds."""
    user = User(browser, served)
    user.controls.cameras.value = False
    yield user
    assert not user.errors
    user.page.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    """The folder for a screenshot at the end of each test."""
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def user(shared, screenshots, request):
    """The shared page with its initial settings."""
    controls = shared.controls
    controls.show.value, controls.background.value = "Colour", "White"
    controls.cameras.value = controls.crop.value = False
    controls.resolution.value = RESOLUTION
    shared.client.move_to(shared.photos.initial_viewpoint())
    shared.close_notices()
    shared.settle()
    yield shared
    shared.page.bring_to_front()
    shared.page.screenshot(path=screenshots / f"{request.node.name}.png")


@pytest.mark.slow
def test_the_page_shows_the_scene(user):
    user.shows_the_ball()
    picture = user.picture()
    assert picture.shape[0] > 500
    above, below = (picture[rows, picture.shape[1] // 2] for rows in (150, -150))
    assert above[2] > below[2] + 0.2, "the right way up: z is blue"


@pytest.mark.slow
def test_dragging_turns_it(user):
    before, colors = user.client.viewpoint(), user.middle()
    user.drag(150, 0)
    user.settle()
    after = user.client.viewpoint()
    assert np.linalg.norm(after.origin - before.origin) > 1
    np.testing.assert_allclose(
        np.linalg.norm(after.origin), np.linalg.norm(before.origin), rtol=0.01
    )
    assert np.abs(user.middle() - colors).max() > 0.1
    user.shows_the_ball()


@pytest.mark.slow
def test_coarse_pictures_come_while_dragging(user):
    sizes = []
    show = user.client.show
    user.client.show = lambda view, picture: (
        sizes.append(picture.pixels.shape[:2]),
        show(view, picture),
    )
    for step in range(6):
        user.drag(20 * (-1) ** step, 5)
    user.settle()
    user.client.show = show
    assert len(sizes) >= 4
    assert max(sizes[-1]) == RESOLUTION


@pytest.mark.slow
def test_the_wheel_zooms(user):
    box, before = user.canvas(), user.client.viewpoint()
    user.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    user.page.mouse.wheel(0, 200)
    user.settle()
    far = np.linalg.norm(user.client.viewpoint().origin) / np.linalg.norm(before.origin)
    assert far > 1.1
    user.shows_the_ball()


@pytest.mark.slow
def test_the_quantity_can_be_chosen(user):
    user.choose("Show", "Opacity")
    user.settle()
    assert user.controls.show.value == "Opacity"
    user.shows(1, corner=0)
    user.choose("Show", "Normals")
    user.settle()
    user.shows_the_ball()
    user.choose("Show", "Depth")
    user.settle()
    red, _, blue = user.middle()
    assert red > blue + 0.3, "near is red"
    user.reads("Red is at distance 3")


@pytest.mark.slow
def test_the_background_can_be_chosen(user):
    user.choose("Background", "Black")
    user.shows_the_ball(corner=0)
    user.controls.background.value = "Colour"
    user.controls.color.value = (255, 0, 128)
    user.shows_the_ball(corner=(1, 0, 0.5))


def ball_width(user) -> int:
    """In screen pixels."""
    picture = user.picture()
    return int(np.sum(np.any(picture[picture.shape[0] // 2] < 0.9, axis=-1)))


@pytest.mark.slow
def test_the_field_of_view(user):
    before = ball_width(user)
    user.controls.fov.value = 70.0
    user.settle()
    assert np.isclose(np.degrees(user.client.viewpoint().fov_radians), 70, atol=0.1)
    degrees = np.degrees(user.photos.initial_viewpoint().fov_radians)
    ratio = np.tan(np.radians(degrees / 2)) / np.tan(np.radians(35))
    assert abs(ball_width(user) / before - ratio) < 0.03


@pytest.mark.slow
def test_the_resolution(user):
    edges = []
    for resolution in (64, 320):
        user.controls.resolution.value = resolution
        user.settle()
        assert max(user.client.render_loop.last_view.rendering.opacity.shape) == resolution
        picture = user.picture()
        row = picture[picture.shape[0] // 2].mean(axis=-1)
        edges.append(np.abs(np.diff(row)).max())
    assert edges[1] > 1.5 * edges[0], "sharper"


@pytest.mark.slow
def test_the_crop_box(user):
    """The crop box removes the lower half of the ball."""
    user.controls.sides[2].value = (0.0, 6.0)
    user.controls.crop.value = True

    def is_halved() -> bool:
        picture = user.picture()
        column, middle = picture[:, picture.shape[1] // 2], len(picture) // 2
        above, below = column[middle - 60 : middle - 40], column[middle + 110 : middle + 200]
        return bool((above < 0.9).any(axis=-1).all() and (below > 0.98).all())

    until(is_halved, 20)
    user.controls.crop.value = False
    user.settle()
    user.shows_the_ball()


@pytest.mark.slow
def test_the_nearest_photo_and_its_viewpoint(user):
    """After a drag, the button moves the camera to the viewpoint of the nearest photo."""
    user.drag(60, 20)
    user.settle()
    number = user.photos.nearest(user.client.viewpoint())
    user.reads(f"Nearest: photo_{number}")
    pictures = user.page.locator("img")
    until(lambda: any(image.bounding_box() for image in pictures.all()))
    user.press("Look from there")
    user.settle()
    view, photo = user.client.viewpoint(), user.photos.viewpoint(number)
    np.testing.assert_allclose(view.world_from_camera, photo.world_from_camera, atol=1e-3)
    assert np.isclose(view.fov_radians, photo.fov_radians, atol=1e-4)


@pytest.mark.slow
def test_a_click_on_a_camera_goes_there(user):
    """The camera is moved back, so that several frustums are visible."""
    user.controls.cameras.value = True
    photos = user.photos
    pose = photos.initial_viewpoint().world_from_camera.copy()
    pose[:, 3] *= 3
    user.client.move_to(photos.initial_viewpoint()._replace(world_from_camera=pose))
    user.settle()
    view, box = user.client.viewpoint(), user.canvas()
    for number in range(4):
        photo = photos.viewpoint(number)
        center = photo.origin + 0.5 * photos.frustum_size * photo.forward
        right, up, back = view.world_from_camera[:, :3].T @ (center - view.origin)
        scale = box["height"] / 2 / np.tan(view.fov_radians / 2) / -back
        x, y = box["width"] / 2 + scale * right, box["height"] / 2 - scale * up
        hidden = np.linalg.norm((x - box["width"] / 2, y - box["height"] / 2)) < 120
        if 20 < x < box["width"] - 20 and 20 < y < box["height"] - 20 and not hidden:
            break
    else:
        pytest.fail("no camera is visible")
    before = user.picture()
    user.page.mouse.click(box["x"] + x, box["y"] + y)
    until(lambda: np.allclose(user.client.viewpoint().origin, photo.origin, atol=1e-3))
    user.settle()
    assert np.abs(user.picture() - before).mean() > 0.02
    user.shows_the_ball()


@pytest.mark.slow
def test_a_picture_is_saved(user, served):
    user.press("Picture")
    until(lambda: ".png" in user.controls.job_text.content)
    path = Path(user.controls.job_text.content.split("`")[1])
    user.reads(path.name)
    saved = np.asarray(Image.open(path)) / 255
    assert max(saved.shape[:2]) == RESOLUTION
    height, width = saved.shape[:2]
    middle = saved[height // 2, width // 2]
    np.testing.assert_allclose(middle, 0.5 - 0.5 * user.client.viewpoint().forward, atol=0.05)


@pytest.mark.slow
def test_a_video_of_key_frames_is_saved(user):
    user.page.get_by_text("Film", exact=True).click()
    time.sleep(0.7)  # it opens slowly, and its buttons move
    user.press("Film it")
    until(lambda: user.controls.job_text.content == "Film: failed")
    user.reads("a video needs at least two key frames")
    user.press("Add this view")
    user.reads("1 key frame.")
    user.drag(120, 0)
    user.settle()
    user.press("Add this view")
    user.reads("2 key frames.")
    user.controls.seconds.value, user.controls.fps.value = 0.5, 8.0
    user.press("Film it")
    until(lambda: ".mp4" in user.controls.job_text.content)
    path = Path(user.controls.job_text.content.split("`")[1])
    user.reads(path.name)
    frames = small.read_video(path) / 255
    height, width = frames.shape[1:3]
    assert len(frames) == 4
    assert max(height, width) == RESOLUTION
    first, last = user.client.keys
    for frame, key in ((frames[0], first), (frames[-1], last)):
        middle = frame[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4]
        np.testing.assert_allclose(middle.mean(axis=(0, 1)), 0.5 - 0.5 * key.forward, atol=0.1)
    user.client.move_to(first)
    user.settle()
    user.press("Preview")
    until(lambda: np.allclose(user.client.viewpoint().origin, last.origin, atol=0.01))
    user.press("Drop the last one")
    user.reads("1 key frame.")


@pytest.mark.slow
def test_a_mesh_is_exported_or_the_page_says_why_not(user, monkeypatch):
    def export(scene, crop, progress):
        assert crop is None
        progress("cell", 1, 2)
        path = scene.run.folder / "mesh.ply"
        path.write_text("ply")
        return [path]

    monkeypatch.setattr(jobs, "save_mesh", export)
    user.press("Mesh")
    user.reads("mesh.ply")
    monkeypatch.setattr(jobs, "save_mesh", lambda scene, crop, progress: 1 / 0)
    user.press("Mesh")
    user.reads("division by zero")


@pytest.mark.slow
def test_several_clients_and_a_new_one(browser, served, user):
    """Each has its own viewpoint and options; closing one page does not affect the others."""
    other = User(browser, served)
    other.controls.cameras.value = False
    other.controls.show.value = "Opacity"
    other.drag(200, 30)
    other.settle()
    other.shows(1, corner=0)
    user.shows_the_ball()
    assert np.linalg.norm(other.client.viewpoint().origin - user.client.viewpoint().origin) > 0.5
    other.page.close()
    until(lambda: other.client not in served.clients.values())
    other.client.render_loop._thread.join(10)
    assert not other.client.render_loop._thread.is_alive()
    user.drag(50, 0)
    user.settle()
    user.shows_the_ball()
    again = User(browser, served)
    assert again.controls.show.value == "Colour"
    again.shows_the_ball()
    assert not again.errors + other.errors
    again.page.close()


@pytest.mark.slow
def test_training_is_followed_and_paused(browser, tmp_path):
    scene = ball_scene(tmp_path)
    training = LiveTraining(photos_of_ball(), lambda state: dataclasses.replace(scene, state=state))
    steps, ended = [0], threading.Event()

    def train() -> None:
        while not ended.wait(0.05):
            state = scene.state._replace(step=jnp.int32(steps[0]))
            steps[0] += training(TrainingStatus(state, steps[0], 4000, 21.5, None))

    trainer = threading.Thread(target=train)
    with closing(Viewer(training, scene.config, scene.model, free_port(20_100))) as viewer:
        trainer.start()
        try:
            user = User(browser, viewer)
            user.reads("PSNR 21.50 dB")
            user.press("Pause")
            until(lambda: training.paused)
            user.settle()
            halted = steps[0]
            time.sleep(0.5)
            assert steps[0] == halted
            until(lambda: user.client.render_loop.last_view.step == halted)
            user.reads(f"Step {halted} of 4000")
            user.press("Go on")
            until(lambda: steps[0] > halted + 5)
            user.page.close()
        finally:
            ended.set()
            trainer.join(10)


def test_a_port_that_is_taken(tmp_path, capsys):
    scene = ball_scene(tmp_path)
    with socket.socket() as taken:
        taken.bind((HOST, free_port(21_000)))
        taken.listen()
        port = taken.getsockname()[1]
        with closing(open_viewer(scene, port)) as viewer:
            assert viewer.port > port
            output = capsys.readouterr().out
            assert f"port {port} is taken: {viewer.port} instead" in output
            assert f"viewer: http://127.0.0.1:{viewer.port}" in output
            assert f"ssh -L {viewer.port}:127.0.0.1:{viewer.port} {socket.gethostname()}," in output
            with socket.create_connection((HOST, viewer.port), timeout=5) as page:
                page.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert page.recv(100).startswith(b"HTTP/1.1 200")
