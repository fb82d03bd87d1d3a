"""The ``README.md`` of an export: its origin and its limitations."""

from collections.abc import Mapping
from pathlib import Path

from nerf_jax.app.trained import Trained
from nerf_jax.data.files import atomic_write

LIMITATIONS = """\
Limitations of a mesh from a radiance field:

- The surface is where the density of the field rises, which is gradual. It is accurate to about one
  pixel of the photos, and its edges are rounded; thin, glossy, transparent or untextured parts may
  be far off. Do not take measurements from it.
- Each vertex has one colour, as the training cameras saw it most nearly from the front. It includes
  light, shadow, gloss and reflections, so that the mesh cannot be relit.
- Where no camera looked there is a hole, or, if holes were closed, a guess: the largest solid that
  no photo contradicts. Grey vertices were never visible.
- Lengths are in the units of the scene's own files, which structure from motion leaves arbitrary.
"""

_FRAME = """\
All files are in the frame and scale of the scene's own files. So are the vertices in `mesh.glb`; a
rotation of its one node turns them y up, as viewers expect. Its colours are linear and its material
is unlit, as glTF requires. (`trimesh.load(..., skip_materials=True)` reads vertex colours.) Colours
in PLY and OBJ are sRGB. `transforms.json` names the photos as the scene does; sizes are those of
the images used in training.
"""


def write_readme(path: Path, scene: Trained, facts: Mapping[str, str]) -> Path:
    """Write how the files were made, and their limitations."""
    rows = {"run": f"{scene.run.folder}, step {int(scene.state.step):,}", **facts}
    table = "\n".join(f"- {name}: {fact}" for name, fact in rows.items())
    with atomic_write(path) as aside:
        aside.write_text(f"# Exported from a radiance field\n\n{table}\n\n{_FRAME}\n{LIMITATIONS}")
    return path
