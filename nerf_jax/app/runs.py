"""The folder of a run and its files.

=================  =========================================================
``config.json``    the resolved config
``setting.npz``    the cameras of the photos: rendering needs no dataset
``metrics.jsonl``  one line for each report of training
``curves.png``     a plot of them
``checkpoints/``   the training state, and the config it belongs to
``results.json``   scores, and the protocol that they were computed by
``images/``        the held-out views: truth, rendering, error, depth
``stills/``        colour and depth from a few new viewpoints
``orbit.mp4``      the video (or ``tour.mp4``), and ``..._depth.mp4``, whose scale
                   ``..._depth.json`` and ``stills/depth_scale.png`` show
``frames/``        of an unfinished video
``report.html``    all of the above on one page, in one file
``export/``        meshes, points and cameras
=================  =========================================================
"""

import json
import math
import operator
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerf_jax import config as configs
from nerf_jax.app.checkpoint import Checkpoints
from nerf_jax.config.serialization import from_dict
from nerf_jax.data.files import atomic_write, write_errors, write_json


@dataclass
class Clock:
    """The time that training a run took, over all its sessions."""

    train_seconds: float = 0.0
    compile_seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """The files of one run."""

    folder: Path

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder / "checkpoints")

    @property
    def setting_file(self) -> Path:
        return self.folder / "setting.npz"

    @property
    def results_file(self) -> Path:
        return self.folder / "results.json"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    def write_json(self, name: str, content: dict[str, Any]) -> Path:
        """Write a JSON file into the folder, atomically."""
        path = self.folder / name
        write_json(path, content)
        return path

    def config(self) -> configs.Config:
        """The resolved config of the run.

        Raises:
            FileNotFoundError: the folder holds no run.
            ValueError: ``config.json`` is damaged.
        """
        path = self.folder / "config.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.folder}: no run there (no config.json); name a folder that "
                "`run.py` has written, such as outputs/bricks/..."
            )
        content = _read_json(path)
        if isinstance(content, dict):
            content.pop("num_photos", None)  # a field of version 0.1
        return from_dict(configs.Config, content, where=str(path))

    def results(self) -> dict[str, Any]:
        """The newest result of :func:`nerf_jax.app.evaluate.results`.

        Raises:
            FileNotFoundError: the run was not evaluated yet.
            ValueError: ``results.json`` is damaged.
        """
        if not self.results_file.is_file():
            raise FileNotFoundError(
                f"{self.folder}: no results there yet; `run.py eval {self.folder}` writes them"
            )
        found = _read_json(self.results_file)
        if not isinstance(found, dict):
            kind = type(found).__name__
            raise ValueError(f"{self.results_file}: expected a table of fields, found {kind}")
        return found

    def metrics(self) -> list[dict[str, Any]]:
        """The reports of training, without lines that were not written completely."""
        if not self.metrics_file.is_file():
            return []
        lines = self.metrics_file.read_text(errors="replace").splitlines()
        return [record for record in map(_report, lines) if record is not None]

    def forget_metrics_after(self, step: int) -> None:
        """Remove the reports of later steps, which a resumed run trains again."""
        kept = [record for record in self.metrics() if record["step"] <= step]
        with atomic_write(self.metrics_file) as aside:
            aside.write_text("".join(json.dumps(record) + "\n" for record in kept))

    def add_metrics(self, record: dict[str, Any]) -> None:
        """Append a report."""
        with write_errors(self.metrics_file), self.metrics_file.open("a") as file:
            file.write(json.dumps(record) + "\n")


def clock_and_photos(metadata: Mapping[str, Any]) -> tuple[Clock, int]:
    """The time and the number of photos in a checkpoint's metadata.

    Raises:
        KeyError, TypeError, ValueError: they are damaged.
    """
    num_photos = metadata.get("num_photos") or metadata["config"]["num_photos"]  # version 0.1
    clock = Clock(**metadata["clock"])
    if not all(0 <= seconds < math.inf for seconds in vars(clock).values()):
        raise ValueError(f"the clock is {clock}")
    return clock, operator.index(num_photos)


def _report(line: str) -> dict[str, Any] | None:
    """A line of ``metrics.jsonl``: named numbers, some unknown; None if it is damaged."""
    try:
        record = json.loads(line)
        operator.index(record["step"])
        list(map(math.isnan, filter(None, record.values())))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return record


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def new_run(name: str) -> Run:
    """The default folder of a new run of a config: ``outputs/<config>/<time>``."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    folder, copies = Path("outputs") / name / stamp, 1
    while folder.exists():
        copies += 1
        folder = folder.with_name(f"{stamp}_{copies}")
    return Run(folder)


def latest_run(name: str) -> Run:
    """The newest run of a config under ``outputs/``.

    Raises:
        FileNotFoundError: there is none.
    """
    folders = sorted((Path("outputs") / name).glob("*/config.json"))
    if not folders:
        raise FileNotFoundError(f"outputs/{name}: no run to resume; name its folder by --output")
    return Run(folders[-1].parent)
