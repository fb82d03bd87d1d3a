import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from nerf_jax.cameras import look_at
from nerf_jax.data import normalize
from tests.data import rigs

RIGS = [rigs.ring, rigs.wall, rigs.room]

seeds = strategies.integers(0, 2**32 - 1)


def random_similarity(random):
    """Any rotation, a scale over six decades, a shift to match."""
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    scale = 10 ** random.uniform(-3, 3)
    similarity = np.eye(4)
    similarity[:3, :3] = scale * rotation
    similarity[:3, 3] = scale * random.normal(size=3) * 10
    return similarity


def moved(similarity, poses):
    return normalize.move(similarity, rigs.cameras(poses)).world_from_camera


@pytest.mark.parametrize("rig", RIGS)
@hypothesis.given(seeds)
@hypothesis.settings(max_examples=40, deadline=None)
def test_the_frame_of_the_files_cancels(rig, seed):
    random = np.random.default_rng(seed)
    poses, similarity = rig(random), random_similarity(random)
    turned = moved(similarity, poses)
    world = normalize.placement(poses)
    np.testing.assert_allclose(normalize.placement(turned) @ similarity, world, atol=1e-8)
    np.testing.assert_allclose(
        moved(normalize.placement(turned), turned), moved(world, poses), atol=1e-8
    )


@pytest.mark.parametrize("rig", RIGS)
@hypothesis.given(seeds)
@hypothesis.settings(max_examples=40, deadline=None)
def test_cameras_stand_upright_and_fit_the_cube(rig, seed):
    random = np.random.default_rng(seed)
    original = moved(random_similarity(random), rig(random))
    poses = moved(normalize.placement(original), original)
    assert np.abs(poses[:, :, 3]).max() == pytest.approx(1)
    up = poses[:, :, 1].mean(axis=0)
    np.testing.assert_allclose(up / np.linalg.norm(up), [0, 0, 1], atol=1e-9)
    rotation = poses[:, :, :3]
    gram = rotation.transpose(0, 2, 1) @ rotation
    np.testing.assert_allclose(gram, np.tile(np.eye(3), (len(poses), 1, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-6)


@hypothesis.given(seeds)
@hypothesis.settings(max_examples=40, deadline=None)
def test_a_similarity_scales_every_distance_and_keeps_every_picture(seed):
    random = np.random.default_rng(seed)
    similarity, points = random_similarity(random), random.normal(size=(5, 3))
    before = rigs.cameras(rigs.ring(random), near=0.5, far=7.0)
    after = normalize.move(similarity, before)
    moved_points = normalize.move_points(similarity, points)

    def distances(cameras, points):
        offsets = points[None] - cameras.world_from_camera[:, None, :, 3]
        between = np.linalg.norm(points[1:] - points[:-1], axis=1)
        lengths = np.linalg.norm(offsets, axis=2).ravel()
        return np.concatenate([lengths, between, cameras.near, cameras.far])

    ratio = distances(after, moved_points) / distances(before, points)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    for image in range(len(before.near)):
        for point, moved_point in zip(points, moved_points, strict=True):
            np.testing.assert_allclose(
                rigs.project(after, image, moved_point),
                rigs.project(before, image, point),
                rtol=1e-6,
                atol=1e-6,
            )


@hypothesis.given(seeds)
@hypothesis.settings(max_examples=20, deadline=None)
def test_a_similarity_and_its_inverse_do_nothing(seed):
    random = np.random.default_rng(seed)
    similarity, points = random_similarity(random), random.normal(size=(5, 3))
    before = rigs.cameras(rigs.ring(random), near=0.5, far=7.0)
    back = normalize.move(np.linalg.inv(similarity), normalize.move(similarity, before))
    for found, expected in zip(back, before, strict=True):
        if expected is not None:
            np.testing.assert_allclose(found, expected, atol=1e-9)
    there = normalize.move_points(similarity, points)
    np.testing.assert_allclose(
        normalize.move_points(np.linalg.inv(similarity), there), points, atol=1e-9
    )


def origin_of(world):
    return np.linalg.solve(world[:3, :3], -world[:3, 3])


def test_what_cameras_look_at_from_all_around_is_the_origin():
    poses = rigs.ring(np.random.default_rng(0), 40)
    poses = poses[poses[:, 0, 3] > -1]  # from one side mostly: their mean is elsewhere
    np.testing.assert_allclose(origin_of(normalize.placement(poses)), 0, atol=0.1)
    assert np.linalg.norm(poses[:, :, 3].mean(axis=0)) > 1
    stray = np.concatenate([poses, rigs.room(np.random.default_rng(0), 1)])
    np.testing.assert_allclose(origin_of(normalize.placement(stray)), 0, atol=0.2)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rig", [rigs.wall, rigs.room])
def test_cameras_that_do_not_look_inwards_are_in_the_middle(rig, seed):
    poses = rig(np.random.default_rng(seed))
    middle = poses[:, :, 3].mean(axis=0)
    np.testing.assert_allclose(origin_of(normalize.placement(poses)), middle, atol=1e-9)


def test_the_photos_right_is_x_so_that_a_wall_is_seen_along_y():
    poses = moved(random_similarity(np.random.default_rng(1)), rigs.wall(np.random.default_rng(0)))
    view = -moved(normalize.placement(poses), poses)[:, :, 2].mean(axis=0)
    np.testing.assert_allclose(view, [0, 1, 0], atol=0.05)


def test_up_may_be_given():
    poses = rigs.ring(np.random.default_rng(0))
    up = np.array([0.0, 2.0, 2.0])
    world = normalize.placement(poses, up)
    turned = world[:3, :3] @ up
    np.testing.assert_allclose(turned / np.linalg.norm(turned), [0, 0, 1], atol=1e-12)
    for wrong in (np.zeros(3), np.array([0, np.nan, 1])):
        with pytest.raises(ValueError, match=r"up must be a direction.* but is \["):
            normalize.placement(poses, wrong)


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (5e5, -4e6, 1e-3)])
def test_cameras_at_one_place_keep_their_scale(count, place):
    poses = rigs.room(np.random.default_rng(0), count)
    poses[:, :, 3] = place
    world = normalize.placement(poses)
    assert np.linalg.det(world[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(moved(world, poses)[:, :, 3], 0, atol=1e-8)


def test_ups_that_cancel_leave_the_line_that_they_share():
    poses = rigs.ring(np.random.default_rng(0), 12)
    poses[1::2, :, :2] *= -1  # every other photo is upside down
    world = normalize.placement(poses)
    np.testing.assert_allclose(world[:3, :3] @ [0, 0, 1] * 3, [0, 0, 1], atol=0.2)


def test_a_first_camera_held_sideways_does_not_matter():
    poses = rigs.ring(np.random.default_rng(0), 60)
    right, up = poses[0, :, 0].copy(), poses[0, :, 1].copy()
    poses[0, :, 0], poses[0, :, 1] = up, -right
    world = normalize.placement(poses)
    turned = world[:3, :3] / np.cbrt(np.linalg.det(world[:3, :3]))
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(turned @ [0, 0, 1], [0, 0, 1], atol=0.1)


def test_parallel_axes_have_no_focus_and_need_none():
    ahead = np.array([0.0, 9.0, 0.0])
    places = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 2.0]])
    poses = np.stack([look_at(place, place + ahead, rigs.UP) for place in places]).astype(float)
    np.testing.assert_allclose(origin_of(normalize.placement(poses)), [0.5, 0, 1], atol=1e-6)


@pytest.mark.parametrize("rig", RIGS)
@hypothesis.given(seeds)
@hypothesis.settings(max_examples=40, deadline=None)
def test_the_frame_of_the_files_cancels_with_points(rig, seed):
    random = np.random.default_rng(seed)
    poses, similarity = rig(random), random_similarity(random)
    points = random.normal(size=(50, 3)) * [3, 2, 1] + random.normal(size=3)
    world = normalize.placement(poses, None, points)
    turned = normalize.placement(
        moved(similarity, poses), None, normalize.move_points(similarity, points)
    )
    np.testing.assert_allclose(turned @ similarity, world, atol=1e-7 * np.abs(world).max())


def test_points_before_parallel_cameras_fill_the_cube():
    random = np.random.default_rng(0)
    poses = rigs.wall(random)
    subject = poses[:, :, 3].mean(axis=0) - 8 * poses[:, :, 2].mean(axis=0)
    points = subject + random.uniform(-1, 1, (1000, 3))
    points[:20] *= 50  # a few are wrong
    placed = normalize.move_points(normalize.placement(poses, None, points), points)
    np.testing.assert_allclose(np.median(placed, axis=0), 0, atol=0.1)
    assert np.mean(np.abs(placed).max(axis=1) <= 1) == pytest.approx(0.9, abs=0.01)
    far = moved(normalize.placement(poses, None, points), poses)[:, :, 3]
    assert np.linalg.norm(far, axis=1).min() > 2


def test_cameras_around_the_subject_stay_in_the_cube():
    random = np.random.default_rng(0)
    poses = rigs.ring(random)
    room = 20 * random.normal(size=(1000, 3))
    np.testing.assert_array_equal(
        normalize.placement(poses, None, room), normalize.placement(poses)
    )
