"""The viewer's threads: pictures that come in time, training looked on, what buttons make."""

import dataclasses
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.app.fit import TrainingStatus
from nerf_jax.app.viewer import jobs
from nerf_jax.app.viewer.keyframes import cameras_along
from nerf_jax.app.viewer.picture import Look
from nerf_jax.app.viewer.render_loop import Drawing, Wish
from nerf_jax.app.viewer.scene_state import Learning, Stage
from nerf_jax.app.viewer.training import told
from nerf_jax.app.viewer.view_renderer import Eye
from nerf_jax.types import Rendering
from tests import small
from tests.app.viewer.pages import ball_scene, photos_of_ball, view_from


class SlowEye(Eye):
    """Takes a time for every ray, and can be called off in every eighth of a picture."""

    behind = (1.0, 1.0, 1.0)

    def __init__(self, seconds_per_ray: float) -> None:
        self.seconds_per_ray, self.spent, self.sizes = seconds_per_ray, 0.0, []

    def warm_up(self, scene) -> None:
        pass

    def see(self, scene, camera, size_hw, box, go_on):
        begun = time.monotonic()
        for band in range(8):
            until = begun + (band + 1) / 8 * size_hw[0] * size_hw[1] * self.seconds_per_ray
            time.sleep(max(0.0, until - time.monotonic()))
            if not go_on():
                self.spent += time.monotonic() - begun
                return None
        self.spent += time.monotonic() - begun
        self.sizes.append(size_hw)
        zero = np.zeros(size_hw, np.float32)
        return Rendering(np.ones((*size_hw, 3), np.float32), zero, zero + 6, zero + 6)


class Onlooker:
    """Somebody who looks, and what they were shown."""

    def __init__(self, eye, stage, learning=None) -> None:
        self.wish = Wish(view_from((4.0, 0.0, 1.0)), 128)
        self.look, self.shown, self.errors = Look(), [], []
        self.drawing = Drawing(
            stage,
            eye,
            photos_of_ball(),
            learning,
            wish=lambda: self.wish,
            look=lambda: self.look,
            follow=lambda: True,
            show=lambda drawn, picture: self.shown.append((time.monotonic(), drawn, picture)),
            complain=self.errors.append,
        )

    def move(self, step: float) -> None:
        view = view_from((4.0, step, 1.0))
        self.wish = self.wish._replace(view=view)
        self.drawing.stir()

    def until(self, what, seconds=20.0) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "it never came"
            time.sleep(0.005)

    @property
    def is_sharp(self) -> bool:
        return (
            bool(self.shown)
            and self.shown[-1][1].is_final
            and (self.shown[-1][1].wish.key == self.wish.key)
        )


@pytest.fixture
def onlooker(tmp_path):
    made = []

    def make(eye, stage=None, learning=None) -> Onlooker:
        made.append(Onlooker(eye, stage or Stage(ball_scene(tmp_path)), learning))
        made[-1].drawing.start()
        return made[-1]

    yield make
    for one in made:
        one.drawing.end()
        one.drawing._thread.join(10)
        assert not one.drawing._thread.is_alive()
        assert not one.errors


def test_coarse_while_moving_and_sharp_when_still(onlooker):
    eye = SlowEye(3e-5)  # half a second for a whole picture
    somebody = onlooker(eye)
    somebody.until(lambda: somebody.is_sharp)
    eye.sizes.clear()
    for step in range(24):
        somebody.move(0.01 * step)
        time.sleep(0.05)
    moving = len(eye.sizes)
    assert moving >= 4, "those who never stop see something all the same"
    assert all(height < 128 for height, _ in eye.sizes), "and nothing that is late"
    somebody.until(lambda: somebody.is_sharp)
    assert somebody.shown[-1][2].pixels.shape == (128, 128, 3)
    sizes = [size[0] for size in eye.sizes[-3:]]
    assert sizes == sorted(sizes), "sharper and sharper"
    before = len(somebody.shown)
    somebody.drawing.stir()
    time.sleep(0.2)
    assert len(somebody.shown) == before, "nothing is drawn for those who do nothing"


def test_what_is_no_longer_wished_for_is_called_off(onlooker):
    eye = SlowEye(6e-5)
    somebody = onlooker(eye)
    somebody.until(lambda: somebody.is_sharp)
    somebody.move(0.5)
    somebody.until(
        lambda: (
            len(eye.sizes)
            and not somebody.is_sharp
            and somebody.shown[-1][1].wish.key == somebody.wish.key
        )
    )
    time.sleep(0.35)  # well into the full picture, which takes a second
    begun = time.monotonic()
    somebody.move(0.6)
    somebody.until(lambda: somebody.shown[-1][1].wish.key == somebody.wish.key)
    assert time.monotonic() - begun < 0.6
    somebody.until(lambda: somebody.is_sharp)


def test_another_look_needs_no_new_picture(onlooker):
    eye = SlowEye(1e-6)
    somebody = onlooker(eye)
    somebody.until(lambda: somebody.is_sharp)
    drawn = len(eye.sizes)
    somebody.look = Look("Opacity")
    somebody.drawing.stir()
    somebody.until(lambda: (somebody.shown[-1][2].pixels == 0).all())
    assert len(eye.sizes) == drawn
    assert somebody.shown[-1][2].pixels.shape == (128, 128, 3)


def test_errors_are_told_and_the_next_picture_comes(onlooker):
    eye = SlowEye(1e-6)
    see, eye.see = eye.see, lambda *given: 1 / 0
    somebody = onlooker(eye)
    somebody.until(lambda: somebody.errors)
    assert isinstance(somebody.errors.pop(), ZeroDivisionError)
    eye.see = see
    somebody.move(0.1)
    somebody.until(lambda: somebody.is_sharp)


# While a scene is learned.


def train_for(learning, scene, seconds: float) -> int:
    """Calls of a hundredth of a second, as training makes them; how many there were."""
    end, step = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        time.sleep(0.01)
        step += 1
        state = scene.state._replace(step=jnp.int32(step))
        assert learning(TrainingStatus(state, step, 1000, 20.0, None))
    return step


def learning_of(scene) -> Learning:
    return Learning(Stage(), lambda state: dataclasses.replace(scene, state=state))


def test_with_nobody_looking_nothing_is_done(tmp_path):
    scene = ball_scene(tmp_path)
    learning = learning_of(scene)
    train_for(learning, scene, 0.3)
    assert learning.stage.scene is None
    assert learning.stage.version == 0


def test_following_takes_a_small_part_of_the_time(onlooker, tmp_path, monkeypatch):
    scene = ball_scene(tmp_path)
    learning, eye = learning_of(scene), SlowEye(1e-6)
    somebody = onlooker(eye, learning.stage, learning)
    train_for(learning, scene, 0.5)
    somebody.until(lambda: somebody.is_sharp)
    eye.spent, begun = 0.0, time.monotonic()
    train_for(learning, scene, 3.0)
    assert eye.spent / (time.monotonic() - begun) < 0.05
    followed = {drawn.step for _, drawn, _ in somebody.shown}
    assert len(followed) >= 3, "and is following all the same"


def test_fog_does_not_keep_the_first_look_for_long(onlooker, tmp_path):
    """Before much is learned every ray takes long, and what it shows is over soon."""
    scene = ball_scene(tmp_path)
    learning, eye = learning_of(scene), SlowEye(1e-3)  # a whole picture: sixteen seconds
    somebody = onlooker(eye, learning.stage, learning)
    train_for(learning, scene, 0.2)
    somebody.until(lambda: somebody.is_sharp, seconds=8)
    assert max(somebody.shown[-1][2].pixels.shape) < 64
    learning.finish(scene.state)
    eye.seconds_per_ray = 1e-6
    somebody.until(lambda: max(somebody.shown[-1][2].pixels.shape) == 128)


def test_what_is_shown_is_a_copy_that_training_does_not_overwrite(tmp_path):
    scene = ball_scene(tmp_path)
    learning = learning_of(scene)
    params = {"w": jnp.arange(3.0)}
    learning.ask()
    learning(TrainingStatus(scene.state._replace(params=params), 1, 10, None, None))
    params["w"].delete()
    np.testing.assert_array_equal(learning.stage.scene.state.params["w"], [0, 1, 2])


def test_pausing(tmp_path):
    scene = ball_scene(tmp_path)
    learning = learning_of(scene)
    glimpse = TrainingStatus(scene.state, 5, 10, 20.0, 19.0)
    assert learning(glimpse)
    learning.pause(True)
    assert not learning(glimpse)
    assert learning.stage.version == 1, "what there is then is shown"
    learning.pause(False)
    assert learning(glimpse)
    learning.pause(True)
    learning.finish(scene.state)
    assert not learning.paused
    assert learning.stage.scene.state is scene.state


def test_what_is_told_of_training():
    glimpse = TrainingStatus(None, 120, 3000, 28.125, None)
    assert told(glimpse) == "Step 120 of 3000, PSNR 28.12 dB"
    assert told(glimpse._replace(val_psnr=27.5)).endswith(", held out 27.50 dB")
    assert told(glimpse._replace(psnr=None)) == "Step 120 of 3000"


# What buttons make.


def made_by(begin, make):
    shown, errors, ended = [], [], threading.Event()

    def show(text, percent):
        shown.append((text, percent))
        if percent is None:
            ended.set()

    begin(jobs.Works(show, errors.append), make)
    assert ended.wait(10)
    return shown, errors


def test_progress_and_files_are_shown(tmp_path):
    def make(tell):
        tell("frame", 1, 2)
        return [tmp_path / "a.mp4"]

    shown, errors = made_by(lambda desk, make: desk.begin("Film", make), make)
    assert shown == [
        ("Film: begun", 0.0),
        ("Film: frame 1 of 2", 50.0),
        (f"Film:\n\n`{tmp_path / 'a.mp4'}`", None),
    ]
    assert not errors


def test_what_fails_is_told(tmp_path):
    def make(tell):
        raise OSError("the disk is full")

    shown, errors = made_by(lambda desk, make: desk.begin("Film", make), make)
    assert shown[-1] == ("Film: failed", None)
    time.sleep(0.1)
    assert [str(error) for error in errors] == ["the disk is full"]


def test_one_thing_at_a_time():
    going, done = threading.Event(), []
    desk = jobs.Works(lambda text, percent: None, done.append)
    desk.begin("Film", lambda tell: going.wait(10) and [])
    with pytest.raises(ValueError, match="Mesh: something else is being made still"):
        desk.begin("Mesh", lambda tell: [])
    going.set()


def test_names_that_are_free(tmp_path):
    assert jobs.next_free(tmp_path, "view", ".png").name == "view_000.png"
    first = jobs.save_still(tmp_path, np.zeros((4, 5, 3), np.uint8))
    assert first == tmp_path / "stills" / "view_000.png"
    assert jobs.save_still(tmp_path, np.zeros((4, 5, 3), np.uint8)).name == "view_001.png"


def test_the_mesh_is_that_of_the_crop_box(tmp_path, monkeypatch):
    asked = []

    def extract(scene, wanted, folder, *, tell):
        asked.append((wanted.parts, wanted.crop, folder))
        return [folder / "mesh.ply"]

    monkeypatch.setattr(jobs, "extract", extract)
    scene, crop = ball_scene(tmp_path), ((-1.0, -2.0, -3.0), (1.0, 2.0, 3.0))
    assert jobs.mesh(scene, crop, print) == [tmp_path / "export" / "mesh.ply"]
    jobs.mesh(scene, None, print)
    assert asked == [
        (("mesh",), (-1, -2, -3, 1, 2, 3), tmp_path / "export"),
        (("mesh",), None, tmp_path / "export"),
    ]


def test_a_film_along_key_frames(tmp_path):
    """Frame by frame what the scene shows from there, as ``film`` was asked to."""
    scene, told = ball_scene(tmp_path), []
    keys = [view_from((4.0, 0.0, 1.0)), view_from((0.0, 4.0, 1.0))]
    path, size_hw = cameras_along(keys, 4, (24, 32), (2.0, 6.0)), (24, 32)
    files = jobs.film_keys(scene, path, size_hw, 5.0, lambda *words: told.append(words))
    assert {file.relative_to(scene.run.folder).parts[:2] for file in files} == {
        ("films", "film_000")
    }
    frames = small.read_video(tmp_path / "films" / "film_000" / "path.mp4")
    assert frames.shape == (4, 24, 32, 3)
    for number in (0, 3):
        exact = np.clip(np.asarray(scene.render(path, number, size_hw).rgb), 0, 1)
        assert np.abs(frames[number] / 255 - exact).mean() < 0.05
    assert told == [("frame", number, 4) for number in (1, 2, 3, 4)]
    again = jobs.film_keys(scene, path, size_hw, 5.0, lambda *words: None)
    assert "film_001" in again[0].parts
