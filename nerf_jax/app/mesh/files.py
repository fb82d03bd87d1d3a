"""Meshes and points as files, written whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from nerf_jax.app.images import to_uint8
from nerf_jax.app.mesh.marching_cubes import Mesh
from nerf_jax.data.files import atomic_write, optional_import

_Y_FROM_Z = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From a world whose up is z to one whose up is y."""


def write_mesh(
    path: Path,
    mesh: Mesh,
    colors: Float[np.ndarray, "V 3"],
    world_from_original: Float[np.ndarray, "4 4"],
) -> None:
    """Write a mesh with a colour for each vertex, in the format that the suffix names.

    PLY and OBJ hold the vertices as they are, and sRGB. GLB holds them with the rotation that a
    viewer applies, so that they stand upright, and linear light, as glTF demands; its material is
    unlit, for the colours have their light in them.

    Args:
        path: ends in .ply, .obj or .glb.
        mesh: in the frame of the scene's own files.
        colors: sRGB in [0, 1].
        world_from_original: from that frame to the world, whose up is z.
    """
    trimesh = optional_import("trimesh", "nerf_jax[export]")
    kind = path.suffix.removeprefix(".")
    if kind == "glb":
        content = _glb(trimesh, mesh, colors, _upright(world_from_original))
    else:
        body = trimesh.Trimesh(*mesh, vertex_colors=to_uint8(colors), process=False)
        content = body.export(file_type=kind)
    with atomic_write(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


def write_points(
    path: Path, points: Float[np.ndarray, "P 3"], colors: UInt8[np.ndarray, "P 3"]
) -> None:
    """Write points as PLY, with a colour each."""
    trimesh = optional_import("trimesh", "nerf_jax[export]")
    with atomic_write(path) as aside:
        aside.write_bytes(trimesh.PointCloud(points, colors=colors).export(file_type="ply"))


def _upright(world_from_original: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The rotation of a frame after which its up is y, as in glTF."""
    turn = np.eye(4)
    similar = world_from_original[:3, :3]
    turn[:3, :3] = _Y_FROM_Z @ similar / np.cbrt(np.linalg.det(similar))
    return turn


def _glb(
    trimesh: Any, mesh: Mesh, colors: Float[np.ndarray, "V 3"], upright: Float[np.ndarray, "4 4"]
) -> bytes:
    """As glTF 2.0: trimesh's own colours are of eight bits, too few for the darks in linear light,
    so they go in as an attribute, which is then called by its proper name.
    """
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    attributes = {"_linear": linear.astype(np.float32)}
    body = trimesh.Trimesh(*mesh, vertex_attributes=attributes, process=False)
    scene = trimesh.Scene()
    scene.add_geometry(body, node_name="mesh", geom_name="mesh", transform=upright)

    def finish(tree: dict[str, Any]) -> None:
        (primitive,) = tree["meshes"][0]["primitives"]
        primitive["attributes"]["COLOR_0"] = primitive["attributes"].pop("_linear")
        primitive["material"] = 0
        matte = {"metallicFactor": 0.0, "roughnessFactor": 1.0}  # where unlit is not known
        unlit: dict[str, Any] = {"KHR_materials_unlit": {}}
        look = {"pbrMetallicRoughness": matte, "extensions": unlit, "doubleSided": True}
        tree["materials"] = [look]
        tree["extensionsUsed"] = list(unlit)

    export_glb = optional_import("trimesh.exchange.gltf", "nerf_jax[export]").export_glb
    return export_glb(scene, tree_postprocessor=finish)
