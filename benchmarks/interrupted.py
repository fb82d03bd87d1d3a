"""Short runs of the built-in scene, to be interrupted, and the state that they end in.

Shared by ``kills.py`` and ``full_disk.py``.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from PIL import Image
from record import write_record

from nerf_jax.app.runs import Run

ROOT = Path(__file__).parent.parent
CONFIG = """
from dataclasses import replace
from nerf_jax import config as configs

base = configs.load("bricks.py", "cpu")
config = replace(
    base,
    name="interrupted",
    data=replace(base.data, downscale=8),
    model=replace(
        base.model, num_levels=2, max_entries=2**10, max_resolution=32, width=8, max_samples=1024,
        grid_resolution=32, grid_cells=2**12, num_candidates=64,
    ),
    train=replace(
        base.train, num_steps=60, max_seconds=None, rays_per_step=128, steps_per_call=2,
        validate_every=20, checkpoint_every=10, report_every_seconds=0.0,
    ),
    render=replace(base.render, num_frames=4),
)
"""
"""A checkpoint every few tenths of a second; images, a video, the web page and the report."""

PHASES = {
    "config ": "making the dataset",
    "scene ": "compiling",
    "compiled ": "training",
    "trained ": "evaluating",
    "val: ": "rendering the video",
    "depth from ": "writing the pages",
    "everything ": "ending",
}
"""The beginning of a line of the output, and what the run does after it."""

TIMES = re.compile(r"_seconds$|^rays_per_second$")
"""Names of fields that differ from run to run."""


class Session(NamedTuple):
    """One process of a run, which is over."""

    code: int
    """The exit status; minus the signal that ended it."""
    phase: str
    """What it did last."""
    errors: list[str]
    """Lines of standard error."""
    lines: list[str]
    """Of standard output."""


class Setup(NamedTuple):
    """What the sessions of one run share."""

    config: Path
    folder: Path
    """Of the run."""
    cache: Path
    """Of datasets and compiled programs."""


def start(setup: Setup, *options: str, devices: int = 1) -> subprocess.Popen[str]:
    """Start a session of a run, which resumes if there is anything to resume."""
    arguments = ["--config", setup.config, "--output", setup.folder, *options]
    arguments += ["--resume"] if (setup.folder / "config.json").is_file() else []
    # All programs are cached, not only those that take long to compile: more files to damage.
    inherited = os.environ.get("XLA_FLAGS", "")
    flags = {"XLA_FLAGS": f"{inherited} --xla_force_host_platform_device_count={devices}"}
    cached = {"XDG_CACHE_HOME": str(setup.cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(
        [sys.executable, ROOT / "run.py", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | cached | flags | {"PYTHONPATH": str(ROOT)},
    )


def end(process: subprocess.Popen[str], timeout: float) -> Session:
    """Wait for the end of a session, and kill it by SIGKILL if that has not come in time."""
    try:
        out, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, errors = process.communicate()
    phases = [
        phase
        for line in out.splitlines()
        for head, phase in PHASES.items()
        if line.startswith(head)
    ]
    phase = (phases or ["starting"])[-1]
    return Session(process.returncode, phase, errors.splitlines(), out.splitlines())


def uninterrupted(setup: Setup) -> tuple[dict[str, Any], float]:
    """The end state of a run, and the seconds that it takes with warm caches.

    Raises:
        RuntimeError: it failed.
    """
    for _ in range(2):
        shutil.rmtree(setup.folder, ignore_errors=True)
        began = time.monotonic()
        session = end(start(setup), timeout=1800)
        seconds = time.monotonic() - began
        if session.code or session.errors:
            raise RuntimeError("\n".join(session.errors))
    return end_state(setup.folder), seconds


def end_state(folder: Path) -> dict[str, Any]:
    """All that must not depend on interruptions, by name: the arrays of the newest checkpoint, the
    names of the checkpoints, and the other files.
    """
    step = Run(folder).checkpoints.latest()
    tree = ocp.StandardCheckpointer().restore(folder.resolve() / f"checkpoints/{step}/tree")
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    state: dict[str, Any] = {
        jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves
    }
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    return {**state, "checkpoints": names, **files(folder)}


def files(folder: Path) -> dict[str, Any]:
    """The contents of a run's files by their names, without checkpoints and times.

    Raises:
        Exception: a file is not whole.
    """
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: _content(path) for name, path in found.items() if not name.startswith("checkpoints/")
    }


def _content(path: Path) -> Any:
    if path.suffix == ".html":
        return path.read_text().rstrip().endswith("</html>")
    if path.name == "curves.png":
        return Image.open(path).convert("RGB").size
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text()))
    if path.name == "metrics.jsonl":  # its last line may be half, and is then dropped
        return [_without_times(line) for line in Run(path.parent).metrics()]
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays}
    return path.read_bytes()


def _without_times(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not TIMES.search(name)}


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The names of what differs, is missing, or was left over."""
    names = found.keys() | expected.keys()
    return sorted(name for name in names if found.get(name) != expected.get(name))


def main(
    file: str, summary: str, count: str, default: int, campaign: Callable[..., dict[str, Any]]
) -> None:
    """The command line of a campaign, whose figures are printed and recorded.

    Args:
        file: of the script.
        summary: its first line.
        count: the name of its option, how many interruptions.
        default: of that option.
        campaign: ``(folder, how many, seed) -> figures``, with ``failures`` among them.
    """
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument(f"--{count}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = campaign(Path(folder), getattr(args, count), args.seed)
    print("\n".join(figures["failures"]) or "no failures")
    write_record(Path(file), figures, {})
