"""The notebooks run from their first cell to their last, quietly, and keep to the house's rules."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MAX_CELLS = 15
MAX_KILOBYTES = 600
SECONDS_PER_CELL = 600
"""A cell that hangs, not one that is slow: machines that run tests are often busy."""


def smaller(num_levels: int) -> str:
    """A line of a notebook that makes the config of the built-in scene quick to run."""
    return f"""config = replace(
    config,
    data=replace(config.data, downscale=8),
    eval=replace(config.eval, rays_per_chunk=512),
    model=replace(
        config.model,
        num_levels={num_levels},
        grid_resolution=32,
        grid_cells=32**3,
        num_candidates=64,
        max_samples=2**11,
    ),
    train=replace(config.train, rays_per_step=256),
)"""


SHORTER = {
    "00_nerf_in_100_lines": {
        "NUM_STEPS, RAYS_PER_STEP = 3000": "NUM_STEPS, RAYS_PER_STEP = 2000",
        "(1, 3, 6, 12, 24, 40, 60)": "(1, 3, 6, 12, 20, 30, 40)",
    },
    "02_volume_rendering": {
        "2 ** np.arange(2, 8)": "2 ** np.arange(2, 4)",
        "size = 80": "size = 40",
    },
    "03_positional_encoding": {
        "NUM_STEPS = 1000": "NUM_STEPS = 50",
        "all_bands = [0, 2, 3, 4, 5, 6, 8]": "all_bands = [0, 3, 4, 5, 6, 8]",
        "downscale=2": "downscale=4",
        "[18:114, 16:112]": "[9:57, 8:56]",
        "row = 50": "row = 25",
    },
    "04_train_a_nerf": {"STEPS_PER_CALL, CALLS = 100, 25": "STEPS_PER_CALL, CALLS = 2, 4"},
    "05_hash_grid": {
        "num_steps=40)": "num_steps=2)",
        "config = replace(config, data=replace(config.data, downscale=4))": smaller(num_levels=6),
    },
    "06_your_own_photos": {
        "take_photos(folder)": "take_photos(folder, size_hw=(45, 60))",
        "config.data, root=folder, max_side=240)": (
            "config.data, root=folder, max_side=60), eval=replace(config.eval, rays_per_chunk=512)"
        ),
        "num_levels=6": "num_levels=2",
        "max_samples=2**13": "max_samples=2**11",
        "rays_per_step=2048, num_steps=40)": "rays_per_step=256, num_steps=2)",
        "size=96": "size=32",
    },
    "07_explore_a_trained_scene": {
        "config = replace(config, optimizer=quick)": smaller(num_levels=2),
        "num_steps=100)": "num_steps=2)",
        "size=96": "size=32",
        "resolution=64, level=level, max_views=24": "resolution=32, level=level, max_views=6",
    },
}
"""What the tests replace: every cell runs, but networks are smaller and trained less than a
reader's, on smaller photos. The first asserts the score that it asserts of its reader's steps."""

TRAINED = "00_nerf_in_100_lines"
"""The notebook that computes much. The others, once shortened, compile much and compute little:
without optimization they are done in half the time."""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in out.get("data", {}) for out in outputs(notebook))


def complaints(notebook: nbformat.NotebookNode) -> list[str]:
    """What cells raised, and what they wrote to stderr: warnings end up there."""
    found = outputs(notebook)
    raised = [f"{out.ename}: {out.evalue}" for out in found if out.output_type == "error"]
    return raised + [out.text for out in found if out.get("name") == "stderr"]


def test_there_are_notebooks():
    assert NOTEBOOKS


@every_notebook
def test_notebook_follows_the_rules(path):
    notebook = read(path)
    nbformat.validate(notebook)
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert len(notebook.cells) <= MAX_CELLS
    assert path.stat().st_size <= MAX_KILOBYTES * 1000
    assert "from nerf_jax" in source
    assert notebook.cells[0].source.startswith("# ")


@every_notebook
def test_notebook_shows_its_results(path):
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert pictures(notebook) >= 1
    assert complaints(notebook) == []
    assert str(ROOT) not in path.read_text(encoding="utf-8")


@pytest.mark.slow
@every_notebook
def test_notebook_runs(path, tmp_path):
    stored, notebook = read(path), read(path)
    for text, shorter in SHORTER.get(path.stem, {}).items():
        replace_once(notebook, text, shorter)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    environment = clean_environment(tmp_path)
    # Programs of its own: a kernel's warnings count, and two could write one file at once.
    environment["JAX_COMPILATION_CACHE_DIR"] += f"-{path.stem}"
    if path.stem != TRAINED:
        flags = os.environ["XLA_FLAGS"].split()
        environment["XLA_FLAGS"] = " ".join(each for each in flags if "device_count" not in each)
    client.execute(env=environment)
    assert complaints(notebook) == []
    assert pictures(notebook) == pictures(stored)


def replace_once(notebook: nbformat.NotebookNode, text: str, other: str) -> None:
    (cell,) = [cell for cell in notebook.cells if text in cell.source]
    assert cell.source.count(text) == 1
    cell.source = cell.source.replace(text, other)


def clean_environment(folder: Path) -> dict[str, str]:
    """A reader's: this repository, one device, inline pictures, and no settings besides."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    paths = [str(ROOT), str(ROOT / "notebooks"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "IPYTHONDIR": str(folder / "ipython"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


_OURS = {"XLA_FLAGS", "MPLBACKEND", "PYTHONWARNINGS"}


def test_nerf_in_100_lines_has_at_most_100():
    """All lines of code and docstrings, except in cells tagged as figures or as the comparison."""
    notebook = read(ROOT / "notebooks" / "00_nerf_in_100_lines.ipynb")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    method = [
        cell for cell in code if not {"figure", "comparison"} & set(cell.metadata.get("tags", []))
    ]
    assert len(code) - len(method) == 4
    lines = [line.strip() for cell in method for line in cell.source.splitlines()]
    assert 50 < sum(bool(line) and not line.startswith("#") for line in lines) <= 100
