"""Plane-sweep stereo: distances of a textured plane, and which of them count."""

import numpy as np
import pytest

from nerf_jax.plane_sweep import agreeing, overlaps, sweep
from tests.textured_plane import SIZE_HW, cameras, photos

OTHERS = np.array([1, 2, 3])
INVERSE = np.linspace(1 / 4, 1 / 1.2, 40, dtype=np.float32)


@pytest.mark.parametrize("lens", [None, (-0.1, False), (0.0, True)])
def test_distances_of_a_textured_plane(lens):
    grey, distance = photos(cameras(lens))
    grey[1] = 0.4 * grey[1] + 0.3  # another exposure
    found, alike = map(np.asarray, sweep(cameras(lens), grey, 0, OTHERS, INVERSE))
    sure = alike > 0.9
    seen = (slice(8, 32), slice(12, 44))  # by two of the others
    assert np.mean(sure[seen]) > 0.8
    error = np.abs(found / distance[0] - 1)[seen][sure[seen]]
    assert np.median(error) < 0.005
    assert np.mean(error < 0.02) > 0.93
    assert not sure[:, 45:].any(), "there is no texture"


def test_pixels_that_are_ignored_have_no_distance():
    grey, _ = photos(cameras())
    grey[0, :20] = np.nan
    alike = np.asarray(sweep(cameras(), grey, 0, OTHERS, INVERSE)[1])
    assert (alike[:20] == -1).all()
    assert (alike[23:] > 0.9).any()
    grey[1:3] = np.nan
    alone = np.asarray(sweep(cameras(), grey, 0, OTHERS, INVERSE)[1])
    assert (alone < 0.1).all(), "two of the others must look alike, and one is left"


def test_a_distance_counts_only_if_another_photo_agrees():
    _, distance = photos(cameras())
    exact = np.asarray(agreeing(cameras(), distance, 0, OTHERS, 0.02))
    assert exact.mean() > 0.9
    wrong = distance.copy()
    wrong[0, :20] *= 1.1
    assert not np.asarray(agreeing(cameras(), wrong, 0, OTHERS, 0.02))[:18].any()
    inverse = 1 / distance[0, :20]
    slack = (inverse - inverse / 1.1).max()  # the difference is in the distances' reciprocals
    assert np.asarray(agreeing(cameras(), wrong, 0, OTHERS, 0.02, 1.1 * slack))[:18].mean() > 0.9
    single = np.where(np.arange(56) % 5 == 0, distance, 0)
    assert not np.asarray(agreeing(cameras(), single, 0, OTHERS, 0.02)).any(), "speckles"
    assert not np.asarray(agreeing(cameras(), 0 * distance, 0, OTHERS, 0.02)).any()


def test_photos_overlap_that_see_the_same_points_from_a_good_angle():
    """A camera that looks away sees none; one at the same place has no angle."""
    poses = cameras().world_from_camera.copy()
    poses[2] = poses[0]
    poses[3, :, :3] *= -1
    four = cameras()._replace(world_from_camera=poses)
    points = np.zeros((4, 5, 3), np.float32)
    found = np.asarray(overlaps(four, SIZE_HW, points))
    here, there = poses[0, :, 3], poses[1, :, 3]
    distances = np.linalg.norm(here), np.linalg.norm(there)
    angle = np.degrees(np.arccos(here @ there / np.prod(distances)))
    expected = np.exp(-(((angle - 8) / 12) ** 2) / 2) * distances[0] / distances[1]
    assert found[0, 1] == pytest.approx(5 * expected, rel=1e-3)
    assert found[0, 2] == pytest.approx(5 * np.exp(-((8 / 3) ** 2) / 2), rel=0.05)
    assert (found[:, 3] == 0).all()
    assert (np.diag(found) == 0).all()
