"""What an export is, and what it is not: written beside it."""

from collections.abc import Mapping
from pathlib import Path

from nerf_jax.app.trained import Trained
from nerf_jax.data.files import atomic_write

LIMITS = """\
What a mesh out of a radiance field can be, and what it cannot:

- It is where a field that was trained on photos, and on nothing else, turns from empty to dense.
  That is soft. The surface is right to about a photo's pixel and its edges are rounded; where walls
  are thin, glossy, transparent or without texture it may be far off. Do not measure by it.
- It has one colour a place, seen as straight on as the cameras saw it. What moves with the eye,
  gloss and reflections, is frozen; light and shadow are in the colours. It is no material to be lit
  anew.
- Where no camera looked there is a hole, or, if it was closed, a guess: the largest body that no
  photo contradicts. What is grey was never seen.
- Lengths are in the units of the scene's own files, which structure from motion leaves arbitrary.
"""

_FRAME = """\
All is in the frame and scale of the scene's own files. In `mesh.glb` the vertices are too, and a
rotation of its one node stands them upright, y up, as viewers expect; its colours are linear light
and its material unlit, as glTF has it. (`trimesh.load(..., skip_materials=True)` reads them as
vertex colours.) In PLY and OBJ they are sRGB. `transforms.json` names photos as the scene did, and
its sizes are those of the images that were learned from.
"""


def write_statement(path: Path, scene: Trained, facts: Mapping[str, str]) -> Path:
    """Write what was exported, how, and what that can be."""
    rows = {"run": f"{scene.run.folder}, step {int(scene.state.step):,}", **facts}
    table = "\n".join(f"- {name}: {fact}" for name, fact in rows.items())
    with atomic_write(path) as aside:
        aside.write_text(f"# Out of a radiance field\n\n{table}\n\n{_FRAME}\n{LIMITS}")
    return path
