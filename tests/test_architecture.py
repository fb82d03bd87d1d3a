"""The shape of the program: who imports whom, what needs what, and how files are kept."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nerf_jax"

FLOORS: list[set[str]] = [
    {"types", "numerics", "packing", "devices", "_moved"},
    {
        *{"cameras", "lenses", "cones", "sampling", "encodings", "hashgrid"},
        *{"contraction", "occupancy", "compositing", "losses", "metrics"},
    },
    {
        *{"fields", "render", "render_sparse", "wavefront", "pose_refinement", "camera_model"},
        "plane_sweep",
    },
    {"train"},
    {"config"},
    {"methods"},
    {"data", "scenes"},
    {"app.chunks", "app.old_checkpoints"},
    {
        *{
            "app.appearance",
            "app.backend",
            "app.camera_paths",
            "app.checkpoint",
            "app.ffmpeg",
            "app.images",
        },
        *{"app.normals", "app.ply", "app.progress", "app.splines"},
    },
    {
        "app.advice",
        "app.dense_depths",
        "app.photo_buffer",
        "app.prepare",
        "app.processes",
        "app.programs",
        "app.runs",
        "app.scene_cameras",
    },
    {"app.fit", "app.rendezvous", "app.report"},
    {"app.trained"},
    {"app.evaluate", "app.video", "app.mesh"},
    {"app.page", "app.viewer"},
    {"app.commands", "app.notebook"},
    {"app.cli", "configs"},
]
"""From the ground up: a file imports from lower floors only. A folder is one name, but for the
program's, ``app``, whose parts have floors of their own."""

NEIGHBOURS = {
    ("__init__", "_moved"),  # old names, known from the first import on
    ("app.camera_paths", "app.splines"),
    ("app.ffmpeg", "app.images"),  # frames as bytes
    ("compositing", "sampling"),  # midpoints of intervals
    ("cameras", "lenses"),  # a camera has one
    ("contraction", "lenses"),  # how wide a camera sees
    ("data", "scenes"),  # `data.load` knows the built-in scene
    ("occupancy", "cameras"),  # which cells a camera sees
    ("occupancy", "contraction"),  # a grid divides the unit cube
    ("wavefront", "render_sparse"),  # the sizes of the buffers
    ("scenes", "data"),  # a built-in scene is a `Scene`
}
"""The only imports within a floor; those within a folder come besides."""

CORE = [*(name for floor in FLOORS[:4] for name in sorted(floor)), "methods"]
CORE_PACKAGES = {"flax", "jax", "jaxtyping", "nerf_jax", "numpy", "optax", "orbax"}
OPTIONAL = [
    *{"OpenEXR", "PIL", "imageio", "imageio_ffmpeg", "jinja2", "matplotlib"},
    *{"fast_simplification", "skimage", "trimesh", "tyro", "viser"},
]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
every_module = pytest.mark.parametrize("name", MODULES)


@functools.cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(), MODULES[name])


@functools.cache
def imports(name: str) -> frozenset[str]:
    """Full names of the modules that a file imports, at its head or within a function."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports hide who imports whom"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            own = {full for full in inner if full.removeprefix("nerf_jax.") in MODULES}
            found |= own if own == inner else own | {node.module}
    return frozenset(found)


def own_imports(name: str) -> set[str]:
    """Those from this package, without its name."""
    own = {full.removeprefix("nerf_jax.") for full in imports(name) if full.startswith("nerf_jax.")}
    return own - {name}


def outer(name: str) -> str:
    """The name that FLOORS has for a module."""
    return ".".join(name.split(".")[: 2 if name.startswith("app.") else 1])


def floor(name: str) -> int:
    found = [number for number, names in enumerate(FLOORS) if outer(name) in names]
    assert found, f"{name} has no floor yet: give it one in FLOORS"
    return found[0]


def test_imports_are_parsed_correctly():
    assert {"cameras", "compositing", "types", "devices"} <= own_imports("render")
    # `from nerf_jax import fields`
    assert {"fields", "encodings"} <= own_imports("methods.nerf")
    assert "flax" in imports("fields")


@every_module
def test_a_file_imports_from_lower_floors_only(name: str):
    for imported in own_imports(name):
        if outer(imported) == outer(name) or (outer(name), outer(imported)) in NEIGHBOURS:
            continue
        assert floor(imported) < floor(name), f"{name} imports {imported}"


def test_no_two_files_import_each_other():
    graph = {name: own_imports(name) for name in MODULES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(MODULES)


@pytest.mark.parametrize("renderer", ["render", "render_sparse", "wavefront"])
def test_the_renderers_know_no_network(renderer: str):
    assert not {full for full in imports(renderer) if "fields" in full or "flax" in full}


def packages(name: str) -> set[str]:
    return {full.split(".")[0] for full in imports(name)}


def test_flax_is_imported_in_one_file():
    assert [name for name in MODULES if "flax" in packages(name)] == ["fields"]


@pytest.mark.parametrize("name", [name for name in MODULES if name in CORE])
def test_the_core_names_no_other_package(name: str):
    assert packages(name) <= CORE_PACKAGES | sys.stdlib_module_names


def run(script: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert finished.returncode == 0, finished.stderr


def test_the_config_does_not_load_jax():
    run("import sys, nerf_jax.config\nassert not {'jax', 'numpy'} & set(sys.modules)")


@pytest.mark.slow
def test_the_core_runs_without_the_packages_of_the_rest():
    present = [name for name in CORE if name in MODULES]
    imported = "\n".join(f"import nerf_jax.{name}" for name in present)
    assert "train" in present
    run(f"import sys\nfor name in {OPTIONAL}:\n    sys.modules[name] = None\n{imported}")


@every_module
def test_every_file_has_a_docstring_and_a_limited_length(name: str):
    if tree(name).body:
        assert ast.get_docstring(tree(name)), f"{name} has no docstring"
    assert len(MODULES[name].read_text().splitlines()) <= 400
    assert not {"utils", "util", "helpers", "misc", "common"} & set(name.split("."))


@pytest.mark.parametrize("name", [name for name in MODULES if outer(name) != "configs"])
def test_public_names_have_docstrings(name: str):
    for node in tree(name).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


def num_lines(names: list[str]) -> int:
    return sum(len(MODULES[name].read_text().splitlines()) for name in names)


def test_the_package_stays_small():
    below_config = [name for floor in FLOORS[:4] for name in floor]
    assert num_lines([name for name in MODULES if outer(name) in below_config]) <= 4_080
    assert num_lines([name for name in MODULES if outer(name) == "methods"]) <= 970
    assert num_lines(list(MODULES)) <= 19_970
