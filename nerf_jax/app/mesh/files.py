"""Writes meshes, points, and the ``README.md`` of an export."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from nerf_jax.app.images import to_uint8
from nerf_jax.app.mesh.marching_cubes import Mesh
from nerf_jax.app.trained import Trained
from nerf_jax.data.files import atomic_write, optional_import
from nerf_jax.data.images import srgb_to_linear

LIMITATIONS = """\
Limitations of a mesh from a radiance field:

- The surface is where the density of the field rises, which is gradual. It is accurate to about one
  pixel of the photos, and its edges are rounded; thin, glossy, transparent or untextured parts may
  be far off. Do not take measurements from it.
- A vertex has one colour, as the cameras saw it most nearly from the front, with light, shadow and
  reflections: the mesh cannot be relit. Grey vertices were never visible.
- Where no camera looked there is a hole, or, if holes were closed, the largest solid that no photo
  contradicts.
- Lengths are in the units of the scene's own files, which structure from motion leaves arbitrary.
"""

_FRAME = """\
All files are in the frame and scale of the scene's own files. In `mesh.glb`, a rotation of the node
turns the vertices y up, as viewers expect; its colours are linear and its material is unlit, as
glTF requires (`trimesh.load(..., skip_materials=True)` reads them). Colours in PLY and OBJ are
sRGB. `transforms.json` names photos as the scene does; sizes are those of the images trained on.
"""

_Y_UP_FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def write_mesh(
    path: Path,
    mesh: Mesh,
    colors: Float[np.ndarray, "V 3"],
    world_from_original: Float[np.ndarray, "4 4"],
) -> None:
    """Write a mesh with vertex colours, in the format that the suffix names.

    Colours are sRGB in [0, 1], and so they are in PLY and OBJ. In GLB they are linear, as glTF
    requires, and the material is unlit, because they include the light of the scene; a rotation,
    found from the similarity to the world, which is z up, turns the mesh y up in viewers.
    """
    trimesh = optional_import("trimesh", "nerf_jax[export]")
    if path.suffix == ".glb":
        content = _glb(trimesh, mesh, colors, world_from_original[:3, :3])
    else:
        body = trimesh.Trimesh(*mesh, vertex_colors=to_uint8(colors), process=False)
        content = body.export(file_type=path.suffix.removeprefix("."))
    with atomic_write(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


def write_points(
    path: Path, points: Float[np.ndarray, "P 3"], colors: UInt8[np.ndarray, "P 3"]
) -> None:
    """Write coloured points as PLY."""
    trimesh = optional_import("trimesh", "nerf_jax[export]")
    with atomic_write(path) as aside:
        aside.write_bytes(trimesh.PointCloud(points, colors=colors).export(file_type="ply"))


def write_readme(path: Path, scene: Trained, facts: Mapping[str, str]) -> Path:
    """Write how the files were made, and their limitations."""
    rows = {"run": f"{scene.run.folder}, step {int(scene.state.step):,}", **facts}
    table = "\n".join(f"- {name}: {fact}" for name, fact in rows.items())
    with atomic_write(path) as aside:
        aside.write_text(f"# Exported from a radiance field\n\n{table}\n\n{_FRAME}\n{LIMITATIONS}")
    return path


def _glb(
    trimesh: Any, mesh: Mesh, colors: Float[np.ndarray, "V 3"], similarity: Float[np.ndarray, "3 3"]
) -> bytes:
    """The mesh as glTF 2.0, turned by the rotation of a similarity to z up, then to y up.

    trimesh writes vertex colours with 8 bits, too few for dark linear colours; so they are written
    as a custom attribute in float32, which is then renamed.
    """
    upright = np.eye(4)
    upright[:3, :3] = _Y_UP_FROM_Z_UP @ similarity / np.cbrt(np.linalg.det(similarity))
    attributes = {"_linear": srgb_to_linear(colors).astype(np.float32)}
    body = trimesh.Trimesh(*mesh, vertex_attributes=attributes, process=False)
    scene = trimesh.Scene()
    scene.add_geometry(body, node_name="mesh", geom_name="mesh", transform=upright)

    def finish(tree: dict[str, Any]) -> None:
        (primitive,) = tree["meshes"][0]["primitives"]
        primitive["attributes"]["COLOR_0"] = primitive["attributes"].pop("_linear")
        primitive["material"] = 0
        matte = {"metallicFactor": 0.0, "roughnessFactor": 1.0}  # for viewers without unlit
        unlit: dict[str, Any] = {"KHR_materials_unlit": {}}
        material = {"pbrMetallicRoughness": matte, "extensions": unlit, "doubleSided": True}
        tree["materials"] = [material]
        tree["extensionsUsed"] = list(unlit)

    export_glb = optional_import("trimesh.exchange.gltf", "nerf_jax[export]").export_glb
    return export_glb(scene, tree_postprocessor=finish)
