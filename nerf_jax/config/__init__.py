"""The configuration of a run: frozen dataclasses, checked at construction, without jax.

A config file is Python that defines ``config``: a :class:`Config`, or a function of the platform
("cpu", "gpu" or "tpu"), and if need be of the device's memory in GiB and of the number of steps
that there is time for, that returns one. Its docstring gives the command and the expected results.
A run's folder contains the resolved config as ``config.json``, which
:mod:`nerf_jax.config.serialization` writes and reads.
"""

import runpy
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path

from nerf_jax.config.data import DataConfig
from nerf_jax.config.export import ExportConfig as ExportConfig
from nerf_jax.config.methods import (
    HashConfig,
    MipConfig,
    NerfConfig,
    ProposalConfig,
    TutorialConfig,
)
from nerf_jax.config.serialization import near_miss
from nerf_jax.config.training import Cosine as Cosine
from nerf_jax.config.training import EvalConfig, OptimizerConfig, RenderConfig, TrainConfig
from nerf_jax.config.training import Exponential as Exponential
from nerf_jax.config.training import Milestones as Milestones

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class Config:
    """The configuration of a run."""

    name: str = "unnamed"
    """Name of the run's folder in `outputs/`."""
    note: str = ""
    """The reason for the chosen sizes, printed at the start."""
    data: DataConfig = field(default_factory=DataConfig)
    model: HashConfig | MipConfig | NerfConfig | ProposalConfig | TutorialConfig = field(
        default_factory=NerfConfig
    )
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    render: RenderConfig = field(default_factory=RenderConfig)


def load(name: str, platform: str, memory_gib: float = 24.0, num_steps: float = 1e9) -> Config:
    """The config that a file defines.

    Args:
        name: a path, or the name of a packaged config, with or without ``.py``.
        platform: "cpu", "gpu" or "tpu", the argument of a config that is a function.
        memory_gib: of a GPU, the second argument if it has two.
        num_steps: that a CPU has time for, the third argument if it has three.

    Raises:
        ValueError: no such config (the error names similar ones), or the file defines none.
    """
    candidates = [Path(name), CONFIGS / name, CONFIGS / f"{name}.py"]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        known = sorted(path.name for path in CONFIGS.glob("*.py"))
        raise ValueError(
            f"no config {name!r}: it is neither a file nor one of {', '.join(known)}."
            + near_miss(name, known)
        )
    try:
        config = runpy.run_path(str(path)).get("config")
        if callable(config) and not isinstance(config, type):
            config = config(*(platform, memory_gib, num_steps)[: len(signature(config).parameters)])
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise ValueError(
            f"{path}: must define `config`, a nerf_jax.config.Config or a function of the "
            f"platform that returns one; found {type(config).__name__}"
        )
    return config
