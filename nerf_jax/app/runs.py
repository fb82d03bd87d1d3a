"""A run's folder: what is where.

=================  =========================================================
``config.json``    the resolved config
``setting.npz``    where the photos were taken: rendering needs no dataset
``metrics.jsonl``  a line for every report of training
``curves.png``     the same, to look at
``checkpoints/``   the state, and the config it belongs to
``results.json``   scores, and what they mean
``images/``        the held-out views: truth, rendering, error, depth
``stills/``        colour and depth from a few new viewpoints
``orbit.mp4``      a turn around the scene (or ``tour.mp4``), and ``..._depth.mp4``, whose scale
                   ``..._depth.json`` and ``stills/depth_scale.png`` say
``frames/``        of a render that was broken off
``report.html``    all of the above to look at, in one file
``export/``        meshes, points and cameras
=================  =========================================================
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerf_jax import config as configs
from nerf_jax.app.checkpoint import Checkpoints
from nerf_jax.config.serialization import from_dict
from nerf_jax.data.files import atomic_write, optional_import


@dataclass
class Clock:
    """Where the time went, over all sittings of a run."""

    train_seconds: float = 0.0
    compile_seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    folder: Path

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder / "checkpoints")

    @property
    def setting_file(self) -> Path:
        return self.folder / "setting.npz"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    def write_json(self, name: str, content: dict[str, Any]) -> Path:
        """Write a JSON file of the run, whole or not at all."""
        path = self.folder / name
        with atomic_write(path) as aside:
            aside.write_text(json.dumps(content, indent=2) + "\n")
        return path

    def config(self) -> configs.Config:
        """The resolved config of the run.

        Raises:
            FileNotFoundError: this is no run.
            ValueError: ``config.json`` is damaged.
        """
        path = self.folder / "config.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.folder}: no run there (no config.json); name a folder that "
                "`run.py` has made, such as outputs/bricks/..."
            )
        content = _read_json(path)
        if isinstance(content, dict):
            content.pop("num_photos", None)  # of runs by version 0.1, which kept it here
        return from_dict(configs.Config, content, where=str(path))

    @property
    def results_file(self) -> Path:
        return self.folder / "results.json"

    def results(self) -> dict[str, Any]:
        """The scores of the newest evaluation, as :func:`nerf_jax.app.evaluate.results` has them.

        Raises:
            FileNotFoundError: there was none.
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
        """The reports of training so far; a line that was cut off is left out."""
        records = []
        if self.metrics_file.is_file():
            for line in self.metrics_file.read_text().splitlines():
                try:
                    records.append(json.loads(line))
                except ValueError:
                    break
        return records

    def forget_metrics_after(self, step: int) -> None:
        """Drop the reports of steps that the checkpoint resumed from does not hold."""
        kept = [record for record in self.metrics() if record["step"] <= step]
        with atomic_write(self.metrics_file) as aside:
            aside.write_text("".join(json.dumps(record) + "\n" for record in kept))

    def add_metrics(self, record: dict[str, Any]) -> None:
        """Append a report."""
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def draw_curves(self) -> None:
        """The PSNR of training and validation over steps and over time."""
        records = self.metrics()
        if not records:
            return
        optional_import("matplotlib", "matplotlib")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2, sharey=True)
        held_out = [record for record in records if record.get("val_psnr") is not None]
        for axis, name, label in zip(
            axes, ("step", "train_seconds"), ("step", "seconds of training"), strict=True
        ):
            axis.plot(
                [record[name] for record in records],
                [record["psnr"] for record in records],
                color="tab:blue",
                alpha=0.6,
                linewidth=1,
                label="training rays",
            )
            axis.plot(
                [record[name] for record in held_out],
                [record["val_psnr"] for record in held_out],
                "o-",
                color="tab:orange",
                markersize=3,
                label="held-out rays",
            )
            axis.set_xlabel(label)
            axis.grid(alpha=0.3)
        axes[0].set_ylabel("PSNR (dB)")
        axes[0].legend(loc="lower right")
        figure.suptitle(self.folder.name)
        with atomic_write(self.folder / "curves.png") as aside:
            figure.savefig(aside, dpi=120)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def new_run(name: str) -> Run:
    """The default folder of a run that begins now: ``outputs/<config>/<time>``."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path("outputs") / name / stamp
    copies = 1
    while folder.exists():
        copies += 1
        folder = Path("outputs") / name / f"{stamp}_{copies}"
    return Run(folder)


def latest_run(name: str) -> Run:
    """The newest run of a config under ``outputs/`` that can be gone on with.

    Raises:
        FileNotFoundError: there is none.
    """
    folders = sorted((Path("outputs") / name).glob("*/config.json"))
    if not folders:
        raise FileNotFoundError(f"outputs/{name}: no run to resume; name its folder by --output")
    return Run(folders[-1].parent)
