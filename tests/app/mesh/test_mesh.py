"""The export of a ball: radius, frame, scale and colours, in every format."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from nerf_jax.app.mesh import export_scene
from nerf_jax.app.trained import Trained
from nerf_jax.config import ExportConfig, HashConfig
from nerf_jax.types import Rays
from tests.app.mesh import ball

SMALL = {"resolution": 48, "parts": ("mesh",)}
VOXEL = 2 * ball.RADIUS / 48
"""World units."""
UPPER_HALF = (*(ball.CENTER - [1, 1, 0]).tolist(), *(ball.CENTER + 1).tolist())
"""A crop box around the upper half of the ball, in the scene's world."""


def export(folder: Path, scene: Trained | None = None, **wanted: object) -> list[Path]:
    scene = scene or ball.scene(folder / "run")
    return export_scene(scene, ExportConfig(**wanted), folder / "out", on_progress=lambda *_: None)


def off_the_ball(mesh: trimesh.Trimesh) -> np.ndarray:
    """Distances of vertices from the true surface, world units; negative inside."""
    from_center = ball.world(np.asarray(mesh.vertices)) - ball.CENTER
    return np.linalg.norm(from_center, axis=1) - ball.RADIUS


def color_error(mesh: trimesh.Trimesh) -> float:
    """Mean distance of vertex colours from those rendered against the normals."""
    normals = (ball.world(np.asarray(mesh.vertices)) - ball.CENTER) / ball.RADIUS
    colors = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    return np.abs(colors - (0.5 + 0.4 * normals)).mean()


@pytest.mark.slow
@pytest.mark.parametrize("surface", ["density", "fusion"])
def test_a_ball_has_its_radius_in_the_frame_of_its_files(tmp_path, surface):
    path, readme = export(tmp_path, surface=surface, **SMALL)
    mesh = trimesh.load(path, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    volume = 4 / 3 * np.pi * (ball.RADIUS / 2.5) ** 3  # in the files' units
    assert np.isclose(mesh.volume, volume, rtol=0.05)  # positive: normals point outwards
    off = off_the_ball(mesh)
    assert np.abs(off).max() < VOXEL
    assert abs(off.mean()) < 0.3 * VOXEL
    assert color_error(mesh) < 0.03
    text = readme.read_text()
    assert "watertight" in text
    assert "Do not take measurements from it" in text


@pytest.mark.slow
def test_the_error_falls_with_the_resolution(tmp_path):
    """The level is the density at the surface, so that only the error of marching cubes is left."""
    errors = []
    for resolution in (12, 24):
        wanted = SMALL | {"resolution": resolution, "level": 20.0}
        path, _ = export(tmp_path, surface="density", **wanted)
        errors.append(np.abs(off_the_ball(trimesh.load(path, process=False))).mean())
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.1 * VOXEL


@pytest.mark.slow
def test_glb_is_y_up_with_linear_colours(tmp_path):
    wanted = SMALL | {"surface": "density"}
    plain = trimesh.load(export(tmp_path, format="ply", **wanted)[0], process=False)
    path = export(tmp_path, format="glb", **wanted)[0]
    scene = trimesh.load(path, skip_materials=True)
    (mesh,) = scene.geometry.values()
    np.testing.assert_allclose(mesh.vertices, plain.vertices, atol=1e-6)
    srgb = np.asarray(plain.visual.vertex_colors)[:, :3] / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    found = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    np.testing.assert_allclose(found, linear, atol=0.01)
    # Blue grows with the world's z, which must be y now.
    (upright,) = scene.dump()
    up = np.asarray(upright.vertices)[:, 1]
    assert np.corrcoef(up, srgb[:, 2])[0, 1] > 0.99
    header = path.read_bytes()
    assert b"KHR_materials_unlit" in header


@pytest.mark.slow
def test_obj_has_colours(tmp_path):
    path = export(tmp_path, format="obj", surface="density", **SMALL)[0]
    assert path.name == "mesh.obj"
    mesh = trimesh.load(path, process=False)
    assert color_error(mesh) < 0.03


def test_points_and_cameras_lie_in_the_same_frame(tmp_path):
    written = export(tmp_path, resolution=32, parts=("points", "cameras"), max_points=500)
    assert [path.name for path in written] == ["points.ply", "transforms.json", "README.md"]
    cloud = trimesh.load(written[0])
    assert cloud.vertices.shape == (500, 3)
    assert np.abs(off_the_ball(cloud)).max() < 1e-5
    file = json.loads(written[1].read_text())
    assert file["ply_file_path"] == "points.ply"
    origins = np.array([frame["transform_matrix"] for frame in file["frames"]])[:, :3, 3]
    distance = np.linalg.norm(ball.world(origins) - ball.CENTER, axis=1)
    np.testing.assert_allclose(distance, 3.0, rtol=1e-5)


@pytest.mark.slow
def test_a_crop_box_cuts_and_closes(tmp_path):
    wanted = SMALL | {"crop": UPPER_HALF, "surface": "density"}
    mesh = trimesh.load(export(tmp_path, **wanted)[0], process=False)
    assert mesh.is_watertight
    assert ball.world(np.asarray(mesh.vertices))[:, 2].min() > ball.CENTER[2] - 2 / 48
    assert np.isclose(mesh.volume, 2 / 3 * np.pi * (ball.RADIUS / 2.5) ** 3, rtol=0.1)


@pytest.mark.slow
def test_an_open_crop_box_cuts_and_leaves_a_hole(tmp_path):
    wanted = SMALL | {"crop": UPPER_HALF, "holes": "open"}
    mesh = trimesh.load(export(tmp_path, surface="fusion", **wanted)[0], process=False)
    assert not mesh.is_watertight
    assert np.abs(off_the_ball(mesh)).max() < 2 / 48  # a dome, without a floor


def test_a_simplified_ball_keeps_its_shape(tmp_path):
    path = export(tmp_path, surface="density", faces=500, **SMALL)[0]
    mesh = trimesh.load(path, process=False)
    assert 400 <= len(mesh.faces) <= 500
    assert np.abs(off_the_ball(mesh)).max() < 2 * VOXEL
    assert color_error(mesh) < 0.05


def test_without_cameras_only_the_density_can_be_exported(tmp_path):
    """Trained on rays: the region is the scene box of the method."""
    boxless = ball.scene(tmp_path / "run", with_cameras=False)
    box = HashConfig(box_center=tuple(ball.CENTER.tolist()), box_radius=1.0)
    scene = replace(boxless, config=replace(boxless.config, model=box))
    wanted = {"resolution": 32, "parts": ("mesh",)}
    path = export(tmp_path, scene, **wanted)[0]
    assert np.abs(off_the_ball(trimesh.load(path, process=False))).max() < 2 / 48
    with pytest.raises(ValueError, match=r"run: trained on a ray dataset.*--parts mesh"):
        export(tmp_path, scene)
    with pytest.raises(ValueError, match=r"ray dataset.*--surface density"):
        export(tmp_path, scene, **SMALL, surface="fusion")
    with pytest.raises(ValueError, match=r"extent of the scene is unknown: give the box.*--crop"):
        export(tmp_path, boxless, **wanted)


@pytest.mark.parametrize("parts", [("mesh",), ("points",)])
def test_an_empty_crop_names_the_box_with_surfaces(tmp_path, parts):
    with pytest.raises(
        ValueError, match=r"no surface in the box 5 5 5 6 6 6 .*within -0\.\d.* --crop"
    ):
        export(tmp_path, crop=(5, 5, 5, 6, 6, 6), resolution=8, parts=parts)
    assert not list((tmp_path / "out").iterdir()), "half an export"


def test_a_transparent_scene_is_an_error(tmp_path, monkeypatch):
    render = ball.render

    def nothing(params, aux, rays: Rays):
        return render(params, aux, rays._replace(far=rays.near))

    monkeypatch.setattr("tests.app.mesh.ball.render", nothing)
    with pytest.raises(ValueError, match=r"see no surface.*train for longer"):
        export(tmp_path, **SMALL)


def test_a_folder_that_cannot_be_written_to_is_an_early_error(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match=r"out: cannot be written to .*name another folder by --out"):
        export(tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [("trimesh", {}), ("skimage.measure", {}), ("fast_simplification", {"faces": 100})],
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, missing, wanted):
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'nerf_jax\[export\]'"):
        export(tmp_path, **SMALL, **wanted)
