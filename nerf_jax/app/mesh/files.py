"""Writes meshes and points as files, atomically."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from nerf_jax.app.images import to_uint8
from nerf_jax.app.mesh.marching_cubes import Mesh
from nerf_jax.data.files import atomic_write, optional_import
from nerf_jax.data.images import srgb_to_linear

_Y_UP_FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def write_mesh(
    path: Path,
    mesh: Mesh,
    colors: Float[np.ndarray, "V 3"],
    world_from_original: Float[np.ndarray, "4 4"],
) -> None:
    """Write a mesh with vertex colours, in the format that the suffix names.

    PLY and OBJ hold the vertices as they are, and sRGB. GLB also holds a rotation for viewers that
    turns the mesh y up, and its colours are linear, as glTF requires; the material is unlit,
    because the colours include the light of the scene.

    Args:
        path: ends in .ply, .obj or .glb.
        mesh: in the frame of the scene's own files.
        colors: sRGB in [0, 1].
        world_from_original: from that frame to the world, which is z up.
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


def _glb(
    trimesh: Any,
    mesh: Mesh,
    colors: Float[np.ndarray, "V 3"],
    similarity: Float[np.ndarray, "3 3"],
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
