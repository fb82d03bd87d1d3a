"""The viewer's threads: the render loop, live training, and jobs."""

import dataclasses
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.app.fit import TrainingStatus
from nerf_jax.app.viewer import jobs
from nerf_jax.app.viewer.controls import format_status
from nerf_jax.app.viewer.picture import DisplayOptions, ViewRenderer
from nerf_jax.app.viewer.render_loop import RenderLoop, Request
from nerf_jax.app.viewer.scene_state import LiveTraining, SceneState
from nerf_jax.app.viewer.viewpoints import cameras_along, viewpoints_along
from nerf_jax.types import Rendering
from tests import small
from tests.app.viewer.pages import ball_scene, photos_of_ball, view_from


class SlowRenderer(ViewRenderer):
    """Takes a given time per ray, and can be cancelled after every eighth of a picture."""

    background = (1.0, 1.0, 1.0)

    def __init__(self, seconds_per_ray: float) -> None:
        self.seconds_per_ray, self.spent, self.sizes = seconds_per_ray, 0.0, []

    def warm_up(self, scene) -> None:
        pass

    def render(self, scene, camera, size_hw, crop, keep_going):
        begun = time.monotonic()
        for band in range(8):
            until = begun + (band + 1) / 8 * size_hw[0] * size_hw[1] * self.seconds_per_ray
            time.sleep(max(0.0, until - time.monotonic()))
            if not keep_going():
                self.spent += time.monotonic() - begun
                return None
        self.spent += time.monotonic() - begun
        self.sizes.append(size_hw)
        zero = np.zeros(size_hw, np.float32)
        return Rendering(np.ones((*size_hw, 3), np.float32), zero, zero + 6, zero + 6)


class FakeClient:
    """A client without a page, and the pictures that it was shown."""

    def __init__(self, renderer, state) -> None:
        self.wanted = Request(view_from((4.0, 0.0, 1.0)), 128)
        self.display, self.shown, self.errors = DisplayOptions(), [], []
        self.show_error = self.errors.append
        self.render_loop = RenderLoop(state, renderer, self)

    def request(self) -> Request:
        return self.wanted

    def options(self) -> DisplayOptions:
        return self.display

    def follows_training(self) -> bool:
        return True

    def show(self, view, picture) -> None:
        self.shown.append((view, picture))

    def move(self, step: float) -> None:
        self.wanted = self.wanted._replace(viewpoint=view_from((4.0, step, 1.0)))
        self.render_loop.notify()

    def until(self, what, seconds=20.0) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "timed out"
            time.sleep(0.005)

    @property
    def is_sharp(self) -> bool:
        return (
            bool(self.shown)
            and self.shown[-1][0].is_final
            and (self.shown[-1][0].request.key == self.wanted.key)
        )


@pytest.fixture
def connect(tmp_path):
    made = []

    def make(renderer, state=None) -> FakeClient:
        made.append(
            FakeClient(renderer, state or SceneState(photos_of_ball(), ball_scene(tmp_path)))
        )
        made[-1].render_loop.start()
        return made[-1]

    yield make
    for one in made:
        one.render_loop.close()
        one.render_loop._thread.join(10)
        assert not one.render_loop._thread.is_alive()
        assert not one.errors


@pytest.mark.slow
def test_coarse_while_moving_and_sharp_when_still(connect):
    renderer = SlowRenderer(3e-5)  # half a second for a whole picture
    client = connect(renderer)
    client.until(lambda: client.is_sharp)
    renderer.sizes.clear()
    for step in range(24):
        client.move(0.01 * step)
        time.sleep(0.05)
    moving = len(renderer.sizes)
    assert moving >= 4, "pictures come during the movement"
    assert all(height < 128 for height, _ in renderer.sizes), "and only coarse ones"
    client.until(lambda: client.is_sharp)
    assert client.shown[-1][1].pixels.shape == (128, 128, 3)
    sizes = [size[0] for size in renderer.sizes[-3:]]
    assert sizes == sorted(sizes), "finer and finer"
    before = len(client.shown)
    client.render_loop.notify()
    time.sleep(0.2)
    assert len(client.shown) == before, "nothing is rendered without a change"


@pytest.mark.slow
def test_an_outdated_request_is_cancelled(connect):
    renderer = SlowRenderer(6e-5)
    client = connect(renderer)
    client.until(lambda: client.is_sharp)
    client.move(0.5)
    client.until(
        lambda: (
            len(renderer.sizes)
            and not client.is_sharp
            and client.shown[-1][0].request.key == client.wanted.key
        )
    )
    time.sleep(0.35)  # well into the full picture, which takes a second
    begun = time.monotonic()
    client.move(0.6)
    client.until(lambda: client.shown[-1][0].request.key == client.wanted.key)
    assert time.monotonic() - begun < 0.6
    client.until(lambda: client.is_sharp)


def test_other_display_options_need_no_rendering(connect):
    renderer = SlowRenderer(1e-6)
    client = connect(renderer)
    client.until(lambda: client.is_sharp)
    count = len(renderer.sizes)
    client.display = DisplayOptions("Opacity")
    client.render_loop.notify()
    client.until(lambda: (client.shown[-1][1].pixels == 0).all())
    assert len(renderer.sizes) == count
    assert client.shown[-1][1].pixels.shape == (128, 128, 3)


def test_errors_are_shown_and_the_next_request_is_rendered(connect):
    renderer = SlowRenderer(1e-6)
    render, renderer.render = renderer.render, lambda *given: 1 / 0
    client = connect(renderer)
    client.until(lambda: client.errors)
    assert isinstance(client.errors.pop(), ZeroDivisionError)
    renderer.render = render
    client.move(0.1)
    client.until(lambda: client.is_sharp)


# During training.


def train_for(training, scene, seconds: float) -> int:
    """Call the callback every 10 ms as training does; returns the number of calls."""
    end, step = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        time.sleep(0.01)
        step += 1
        state = scene.state._replace(step=jnp.int32(step))
        assert training(TrainingStatus(state, step, 1000, 20.0, None))
    return step


def training_of(scene) -> LiveTraining:
    return LiveTraining(photos_of_ball(), lambda state: dataclasses.replace(scene, state=state))


def test_without_clients_nothing_is_copied(tmp_path):
    scene = ball_scene(tmp_path)
    training = training_of(scene)
    train_for(training, scene, 0.3)
    assert training.scene is None
    assert training.version == 0


@pytest.mark.slow
def test_following_takes_a_small_share_of_the_time(connect, tmp_path, monkeypatch):
    scene = ball_scene(tmp_path)
    training, renderer = training_of(scene), SlowRenderer(1e-6)
    client = connect(renderer, training)
    train_for(training, scene, 0.5)
    client.until(lambda: client.is_sharp)
    renderer.spent, begun = 0.0, time.monotonic()
    train_for(training, scene, 3.0)
    assert renderer.spent / (time.monotonic() - begun) < 0.05
    followed = {view.step for view, _ in client.shown}
    assert len(followed) >= 3, "and follows nevertheless"


def test_the_first_picture_of_a_slow_scene_is_coarse(connect, tmp_path):
    """An untrained scene is slow to render, and its picture is soon outdated."""
    scene = ball_scene(tmp_path)
    training, renderer = training_of(scene), SlowRenderer(1e-3)  # a whole picture: sixteen seconds
    client = connect(renderer, training)
    train_for(training, scene, 0.2)
    client.until(lambda: client.is_sharp, seconds=8)
    assert max(client.shown[-1][1].pixels.shape) < 64
    training.finish(scene.state)
    renderer.seconds_per_ray = 1e-6
    client.until(lambda: max(client.shown[-1][1].pixels.shape) == 128)


def test_the_displayed_scene_is_a_copy_that_training_does_not_overwrite(tmp_path):
    scene = ball_scene(tmp_path)
    training = training_of(scene)
    params = {"w": jnp.arange(3.0)}
    training.request_update()
    training(TrainingStatus(scene.state._replace(params=params), 1, 10, None, None))
    params["w"].delete()
    np.testing.assert_array_equal(training.scene.state.params["w"], [0, 1, 2])


def test_pausing(tmp_path):
    scene = ball_scene(tmp_path)
    training = training_of(scene)
    status = TrainingStatus(scene.state, 5, 10, 20.0, 19.0)
    assert training(status)
    training.pause(True)
    assert not training(status)
    assert training.version == 1, "the scene at the pause is displayed"
    training.pause(False)
    assert training(status)
    training.pause(True)
    training.finish(scene.state)
    assert not training.paused
    assert training.scene.state is scene.state


def test_the_text_of_the_training_status():
    status = TrainingStatus(None, 120, 3000, 28.125, None)
    assert format_status(status) == "Step 120 of 3000, PSNR 28.12 dB"
    assert format_status(status._replace(val_psnr=27.5)).endswith(", held out 27.50 dB")
    assert format_status(status._replace(psnr=None)) == "Step 120 of 3000"


# Jobs.


def result_of(start, make):
    shown, errors, ended = [], [], threading.Event()

    def show(text, percent):
        shown.append((text, percent))
        if percent is None:
            ended.set()

    start(jobs.Jobs(show, errors.append), make)
    assert ended.wait(10)
    return shown, errors


def test_progress_and_files_are_shown(tmp_path):
    def make(progress):
        progress("frame", 1, 2)
        return [tmp_path / "a.mp4"]

    shown, errors = result_of(lambda runner, make: runner.start("Film", make), make)
    assert shown == [
        ("Film: started", 0.0),
        ("Film: frame 1 of 2", 50.0),
        (f"Film:\n\n`{tmp_path / 'a.mp4'}`", None),
    ]
    assert not errors


def test_a_failed_job_is_reported(tmp_path):
    def make(progress):
        raise OSError("the disk is full")

    shown, errors = result_of(lambda runner, make: runner.start("Film", make), make)
    assert shown[-1] == ("Film: failed", None)
    time.sleep(0.1)
    assert [str(error) for error in errors] == ["the disk is full"]


def test_one_job_at_a_time():
    going, done = threading.Event(), []
    runner = jobs.Jobs(lambda text, percent: None, done.append)
    runner.start("Film", lambda progress: going.wait(10) and [])
    with pytest.raises(ValueError, match="Mesh: another job is running"):
        runner.start("Mesh", lambda progress: [])
    going.set()


def test_free_file_names(tmp_path):
    assert jobs.next_free_path(tmp_path, "view", ".png").name == "view_000.png"
    (first,) = jobs.save_still(tmp_path, np.zeros((4, 5, 3), np.uint8))
    assert first == tmp_path / "stills" / "view_000.png"
    (second,) = jobs.save_still(tmp_path, np.zeros((4, 5, 3), np.uint8))
    assert second.name == "view_001.png"


def test_the_mesh_is_that_of_the_crop_box(tmp_path, monkeypatch):
    asked = []

    def extract(scene, wanted, folder, *, on_progress):
        asked.append((wanted.parts, wanted.crop, folder))
        return [folder / "mesh.ply"]

    monkeypatch.setattr(jobs, "export_scene", extract)
    scene, crop = ball_scene(tmp_path), ((-1.0, -2.0, -3.0), (1.0, 2.0, 3.0))
    assert jobs.save_mesh(scene, crop, print) == [tmp_path / "export" / "mesh.ply"]
    jobs.save_mesh(scene, None, print)
    assert asked == [
        (("mesh",), (-1, -2, -3, 1, 2, 3), tmp_path / "export"),
        (("mesh",), None, tmp_path / "export"),
    ]


@pytest.mark.slow
def test_a_video_along_key_frames(tmp_path):
    """Its frames are renderings of the scene by the cameras of the path."""
    scene, calls = ball_scene(tmp_path), []
    keys = [view_from((4.0, 0.0, 1.0)), view_from((0.0, 4.0, 1.0))]
    path, size_hw = cameras_along(viewpoints_along(keys, 4), (24, 32), (2.0, 6.0)), (24, 32)
    files = jobs.save_video(scene, path, size_hw, 5.0, lambda *words: calls.append(words))
    assert {file.relative_to(scene.run.folder).parts[:2] for file in files} == {
        ("films", "film_000")
    }
    frames = small.read_video(tmp_path / "films" / "film_000" / "path.mp4")
    assert frames.shape == (4, 24, 32, 3)
    for number in (0, 3):
        exact = np.clip(np.asarray(scene.render(path, number, size_hw).rgb), 0, 1)
        assert np.abs(frames[number] / 255 - exact).mean() < 0.05
    assert calls == [("frame", number, 4) for number in (1, 2, 3, 4)]
    again = jobs.save_video(scene, path, size_hw, 5.0, lambda *words: None)
    assert "film_001" in again[0].parts
