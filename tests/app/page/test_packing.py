"""The arrays of a page, against loops and against the field's own shapes."""

import re
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.app.page.packing import join, method_config, pack_bits, pack_field
from nerf_jax.app.page.shader import constants, step_table
from nerf_jax.app.page.views import camera_path
from tests.app.page import made


def test_bits_go_along_x_first():
    occupied = np.random.default_rng(0).random((8, 8, 8)) < 0.5
    bits = np.unpackbits(pack_bits(occupied))
    for x, y, z in np.ndindex(8, 8, 8):
        assert bits[(z * 8 + y) * 8 + x] == occupied[x, y, z]


def test_joined_arrays_are_found_again():
    rng = np.random.default_rng(0)
    arrays = {"a": rng.random(5).astype(np.float16), "b": rng.random((2, 3)).astype(np.float32)}
    content, sections = join(arrays)
    start, length = sections["a"]
    low, high = np.frombuffer(content[start : start + length], np.uint8).reshape(2, -1)
    np.testing.assert_array_equal((low | high.astype(np.uint16) << 8).view(np.float16), arrays["a"])
    start, length = sections["b"]
    found = np.frombuffer(content[start : start + length], "<f4")
    np.testing.assert_array_equal(found, arrays["b"].ravel())


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("features", [1, 2, 3, 4, 6])
def test_matrices_times_texels_are_the_first_layer(features, bits):
    model = method_config(made.config(num_features=features, width=6))
    params = made.scene(made.config(num_features=features, width=6)).state.params
    field, own = pack_field(model, params, bits), params["params"]
    width, columns = 8, field.table.shape[1]
    matrices = field.density[: len(field.levels) * columns * width]
    matrices = matrices.reshape(len(field.levels), width // 4, columns, 4)
    starts = np.cumsum([0, *(level.num_entries for level in field.levels)])
    rows = [5 % level.num_entries for level in field.levels]
    texels = field.table[starts[:-1] + rows].astype(np.float32) / (127 if bits == 8 else 1)
    found = np.einsum("lgci,lc->gi", matrices, texels).ravel()
    x = np.concatenate([table[5] for table in own["tables"]])
    truth = x @ own["trunk_0"]["kernel"]
    np.testing.assert_allclose(found[:6], truth, atol=2e-2 if bits == 8 else 2e-3)
    np.testing.assert_array_equal(found[6:], 0)


@pytest.mark.slow
@pytest.mark.parametrize("space", ["box", "contracted", "frustum"])
def test_steps_are_those_of_the_space(space):
    scene = made.scene(made.config(space=space))
    grid, ray = scene.state.aux, made.first_ray(scene)
    steps = grid.space.ray_steps(0.5, ray, 64)
    own = steps.t(jnp.arange(64))
    table = step_table(grid.space, 64)
    if space == "box":
        found = steps.start + table[:, 0]
    elif space == "frustum":
        found = steps.start * table[:, 0]
    else:
        closest, apart = steps.spacing
        angle = np.arctan((ray.near - closest) / apart) + np.arctan2(table[:, 1], table[:, 0])
        found = closest + apart * np.tan(angle)
    valid = np.asarray(own) < float(ray.far)
    np.testing.assert_allclose(np.asarray(found)[valid], np.asarray(own)[valid], rtol=1e-4)


def test_the_constants_name_the_space_and_the_sizes():
    settings = made.config(num_features=2, max_entries=999, footprint="cone")
    scene = made.scene(settings)
    field = pack_field(method_config(settings), scene.state.params, 16)
    text = constants(settings.model, scene.state.aux.space, field, "black")
    lines = text.splitlines()
    for line in (
        "#define SPACE_BOX",
        "#define MATRIX mat2x4",
        "#define LEVELS 3",
        "#define WRAP(hash, size) ((hash) % (size))",
        "#define CONE",
        "const vec3 BACKGROUND = vec3(0.0e+00, 0.0e+00, 0.0e+00);",
    ):
        assert line in lines


@pytest.mark.parametrize("bias", [None, 2.0])
def test_the_initial_density_is_that_of_the_field(bias):
    """By default -1 per half side of the box; else per world unit."""
    scene = made.scene(made.config(box_radius=0.3, density_bias=bias))
    model, space = scene.config.model, scene.state.aux.space
    text = constants(model, space, pack_field(model, scene.state.params, 16), "white")
    found = float(re.search(r"float DENSITY_BIAS = (\S+);", text)[1])
    np.testing.assert_allclose(found, -1 - np.log(0.3) if bias is None else bias, rtol=1e-6)


@pytest.mark.parametrize(
    ("path", "closed"), [("orbit", True), ("tour", False), ("gone.json", False)]
)
def test_the_camera_path_is_that_of_the_config(path, closed):
    scene = made.scene(made.config())
    render = replace(scene.config.render, path=path, num_frames=12)
    found = camera_path(replace(scene, config=replace(scene.config, render=render)))
    assert found["closed"] is closed
    assert np.shape([frame["pose"] for frame in found["frames"]]) == (12, 3, 4)
