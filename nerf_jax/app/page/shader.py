"""The constants of a scene that its shader is compiled with: sizes, thresholds, the space."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from nerf_jax.app.page.packing import PackedField
from nerf_jax.compositing import Background, solid_background
from nerf_jax.config import HashConfig
from nerf_jax.contraction import Box, Contracted, Frustum, Space
from nerf_jax.methods.grid_fields import density_bias

FEATURES = {
    1: ("float", "vec4", "x"),
    2: ("vec2", "mat2x4", "xy"),
    3: ("vec3", "mat3x4", "xyz"),
    4: ("vec4", "mat4", "xyzw"),
}
"""By the features of a texel: their type, that of a matrix that takes them, their names."""


def constants(model: HashConfig, space: Space, field: PackedField, background: Background) -> str:
    """The lines above ``field.glsl``."""
    vector, matrix, swizzle = FEATURES[field.table.shape[1]]
    hashed = {level.num_entries for level in field.levels if not level.dense}
    powers = all(entries & (entries - 1) == 0 for entries in hashed)
    defines = {
        "FEATURES": vector,
        "MATRIX": matrix,
        "SWIZZLE": swizzle,
        f"SPACE_{type(space).__name__.upper()}": "",
        "LEVELS": str(len(field.levels)),
        "WIDTH": str(-(-model.width // 4)),
        # A division costs as much as reading a texel.
        "WRAP(hash, size)": "((hash) & ((size) - 1u))" if powers else "((hash) % (size))",
        **({"CONE": ""} if model.footprint == "cone" else {}),
        **({"ENVIRONMENT": ""} if field.environment.size else {}),
    }
    values = {
        "MIN_ALPHA": model.min_alpha,
        "MIN_TRANSMITTANCE": model.min_transmittance,
        "DENSITY_BIAS": density_bias(model),
        "BACKGROUND": np.asarray(solid_background(background)),
        "CELLS": model.grid_resolution,
        "STEPS_PER_CELL": 1 / _cells_per_step(space, model),
        **_space_values(space, model.num_candidates),
    }
    lines = [f"#define {name} {value}".rstrip() for name, value in defines.items()]
    lines += [f"const {_type(value)} {name} = {_glsl(value)};" for name, value in values.items()]
    return "\n".join([*lines, *_level_tables(field)])


def _level_tables(field: PackedField) -> list[str]:
    """The shapes of the levels: vertices along an axis, entries, first texel, whether dense."""
    starts = np.cumsum([0, *(level.num_entries for level in field.levels)])
    shapes = [
        f"uvec4({level.resolution}u, {level.num_entries}u, {start}u, {int(level.dense)}u)"
        for level, start in zip(field.levels, starts, strict=False)
    ]
    scales = ", ".join(_glsl(level.scale) for level in field.levels)
    return [
        f"const uvec4 SHAPE[LEVELS] = uvec4[]({', '.join(shapes)});",
        f"const float SCALE[LEVELS] = float[]({scales});",
    ]


def _space_values(space: Space, num_steps: int) -> dict[str, Any]:
    """The constants of a space; STEP is the length of a step where its slope is 1."""
    match space:
        case Box(low, high):
            return {"LOW": low, "HIGH": high, "STEP": float(space.step(num_steps))}
        case Contracted(center, radius):
            return {"CENTER": center, "RADIUS": radius, "STEP": math.pi / num_steps}
        case Frustum(camera_from_world, tangent, near, far):
            return {
                "CAMERA_FROM_WORLD": camera_from_world,
                "TANGENT": tangent,
                "NEAR": near,
                "FAR": far,
                "STEP": float(space.step(num_steps)),
            }
    raise AssertionError(space)


def _cells_per_step(space: Space, model: HashConfig) -> float:
    """The most cells that a step passes along an axis of the grid."""
    count = model.num_candidates
    match space:
        case Box(low, high):
            longest = float(space.step(count)) / float(np.min(np.asarray(high) - np.asarray(low)))
        case Contracted():
            longest = 5 / 4 * math.pi / count
        case Frustum(near=near, far=far):
            longest = math.log(float(far / near)) / (1 - float(near / far)) / count
    return longest * model.grid_resolution


def step_table(space: Space, num_steps: int) -> Float[np.ndarray, "K 2"]:
    """What steps have in common on all rays, of samples at midpoints.

    The distance from the start in a box; its ratio to the start in a frustum; cosine and sine of
    the angle from the start in a contracted space.
    """
    index = np.arange(num_steps) + 0.5
    match space:
        case Box():
            step = index * float(space.step(num_steps))
            return np.stack([step, 0 * step], axis=1).astype(np.float32)
        case Frustum(near=near, far=far):
            ratio = np.exp(index * math.log(float(far / near)) / num_steps)
            return np.stack([ratio, 0 * ratio], axis=1).astype(np.float32)
    angle = index * math.pi / num_steps
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def _type(value: Any) -> str:
    shape = np.shape(value)
    return {(): "float", (2,): "vec2", (3,): "vec3", (3, 4): "mat4x3"}[shape]


def _glsl(value: Any) -> str:
    """A float32 constant, exactly; a matrix by columns."""
    array = np.asarray(value, np.float32)
    if array.ndim == 0:
        return np.format_float_scientific(np.float32(value), trim="0")
    numbers = ", ".join(_glsl(each) for each in array.T.ravel())
    return f"{_type(value)}({numbers})"
