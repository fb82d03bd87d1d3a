"""A trained scene as one web page: its field, drawn by WebGL 2, without a server or other files.

- :mod:`nerf_jax.app.page.packing`: the field as textures and uniform buffers.
- :mod:`nerf_jax.app.page.shader`: the constants of ``field.glsl``, which renders a ray.
- :mod:`nerf_jax.app.page.views`: the cameras.
- ``page.html``, ``draw.js``, ``page.js``: the page, what it draws with, its camera and controls.
"""

import base64
import hashlib
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from nerf_jax.app.images import color_depth, depth_range, to_uint8
from nerf_jax.app.page.packing import (
    ROW,
    Bits,
    PackedField,
    join,
    method_config,
    pack_bits,
    pack_field,
)
from nerf_jax.app.page.shader import constants, step_table
from nerf_jax.app.page.views import camera_path, focus, start_view, training_views
from nerf_jax.app.progress import duration
from nerf_jax.app.report import read
from nerf_jax.app.report.pages import render_template, write_text
from nerf_jax.app.report.pictures import picture
from nerf_jax.app.report.text import fixed, protocol
from nerf_jax.app.trained import Trained
from nerf_jax.cameras import resize
from nerf_jax.compositing import solid_background
from nerf_jax.types import Cameras, Rendering

__all__ = ["Bits", "page_html", "write_page"]

FOLDER = Path(__file__).parent
STILL_SIDE = 400
"""Pixels of the longer side of the picture that is shown at first, and without WebGL 2."""


def write_page(scene: Trained, path: Path, bits: Bits = 16) -> Path:
    """Write a scene as a web page; arguments and errors are those of :func:`page_html`.

    Raises:
        OSError: the file cannot be written.
    """
    return write_text(path, page_html(scene, bits))


def page_html(scene: Trained, bits: Bits = 16) -> str:
    """A scene as the text of a web page.

    Args:
        scene: of the method with a hash grid and an occupancy grid.
        bits: of a feature: 16, half floats; or 8.

    Raises:
        ValueError: a page cannot hold the scene, or it has no cameras to start from.
    """
    model, cameras = method_config(scene.config), scene.cameras()
    params, grid = scene.state.params, scene.state.aux
    field = pack_field(model, params.get("scene", params), bits)
    content, sections = join(
        {
            "table": field.table,
            "density": field.density,
            "color": field.color,
            "environment": field.environment,
            "occupied": pack_bits(grid.occupied),
            "steps": step_table(grid.space, model.num_candidates),
            "depthColors": _depth_colors(),
        }
    )
    background = scene.config.data.background
    numbers = {
        "bits": bits,
        "numFeatures": field.table.shape[1],
        "numTexels": len(field.table),
        "row": ROW,
        "cells": model.grid_resolution,
        "numSteps": model.num_candidates,
        "constants": constants(model, grid.space, field, background),
        "sections": sections,
    }
    view, still = _first_view(scene, cameras)
    packed = base64.b64encode(zlib.compress(content, 9)).decode()
    script = _read("draw.js") + _read("page.js")
    return render_template(
        "page.html",
        FOLDER,
        settings={"name": scene.config.name, **numbers, **view},
        facts=_facts(scene, field, len(packed)),
        still=picture(to_uint8(np.asarray(still.rgb)), STILL_SIDE),
        shader=_read("field.glsl"),
        content=packed,
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        page_color="#000" if solid_background(background)[0] == 0 else "#fff",
    )


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _first_view(scene: Trained, cameras: Cameras) -> tuple[dict[str, Any], Rendering]:
    """The cameras of the page, and the scene as it shows it at first."""
    factor, start = STILL_SIDE / max(scene.size_hw), start_view(cameras)
    height, width = (max(1, round(factor * side)) for side in scene.size_hw)
    small = resize(cameras._replace(lens=None), factor)
    still = scene.render(small, start, (height, width))
    return {
        "size": scene.size_hw[::-1],
        "views": training_views(scene),
        "start": start,
        "path": camera_path(scene),
        "focus": focus(scene, still),
        "up": [0, 0, 1],
        "depthRange": depth_range(np.asarray(still.median_depth), np.asarray(still.opacity)),
    }, still


def _depth_colors() -> UInt8[np.ndarray, "256 3"]:
    """The colours of depths, evenly from the near end of their range to the far end."""
    fraction = (np.arange(256) + 0.5) / 256
    return to_uint8(color_depth(fraction, np.ones(256), 0.0, 1.0))


def _facts(scene: Trained, field: PackedField, num_bytes: int) -> list[tuple[str, str]]:
    """Lines about the scene: a name and a text each."""
    step = int(scene.state.step)
    texels = "8 bits" if field.table.dtype == np.int8 else "half floats"
    facts = [
        ("trained", f"{step:,} steps in {duration(scene.clock.train_seconds)}"),
        ("field", f"{len(field.levels)} levels, {len(field.table):,} entries in {texels}"),
        ("file", f"{num_bytes / 1e6:.1f} MB"),
        ("written", time.strftime("%Y-%m-%d") + " by nerf_jax"),
    ]
    if scene.run.results_file.is_file() and scene.run.results().get("steps") == step:
        record = read(scene.run)
        score = f"{fixed(record.score.psnr, 2)} dB: the mean of per-image values"
        facts[:0] = [("PSNR", score), *protocol(record.protocol)[1:4]]
    return facts
