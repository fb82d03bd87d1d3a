"""What a run is made of: frozen dataclasses, checked when they are made, and no jax.

A config file is Python that defines ``config``: a :class:`Config`, or a function of the
platform ("cpu", "gpu" or "tpu") that returns one where sizes should suit the device. Its
docstring says the command and what to expect. A finished run keeps the resolved config as
``config.json``; :mod:`nerf_jax.config.serialization` has that file's two directions.
"""

import runpy
from dataclasses import dataclass, field
from pathlib import Path

from nerf_jax.config.data import DataConfig
from nerf_jax.config.export import ExportConfig
from nerf_jax.config.methods import (
    HashConfig,
    MipConfig,
    NerfConfig,
    ProposalConfig,
    TutorialConfig,
)
from nerf_jax.config.serialization import near_miss
from nerf_jax.config.training import (
    EvalConfig,
    Exponential,
    Milestones,
    OptimizerConfig,
    RenderConfig,
    TrainConfig,
)

__all__ = [
    "CONFIGS",
    "Config",
    "DataConfig",
    "EvalConfig",
    "Exponential",
    "ExportConfig",
    "HashConfig",
    "Milestones",
    "MipConfig",
    "NerfConfig",
    "OptimizerConfig",
    "ProposalConfig",
    "RenderConfig",
    "TrainConfig",
    "TutorialConfig",
    "load",
]

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class Config:
    """One run, whole."""

    name: str = "unnamed"
    """Of the run's folder under `outputs/`."""
    note: str = ""
    """Why the sizes are what they are; said at the start."""
    data: DataConfig = field(default_factory=DataConfig)
    model: HashConfig | MipConfig | NerfConfig | ProposalConfig | TutorialConfig = field(
        default_factory=NerfConfig
    )
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    render: RenderConfig = field(default_factory=RenderConfig)


def load(name: str, platform: str) -> Config:
    """The config that a file defines.

    Args:
        name: a path, or the name of a packaged config, with or without ``.py``.
        platform: "cpu", "gpu" or "tpu", for files whose sizes depend on it.

    Raises:
        ValueError: no such config (the near misses are named), or the file defines none.
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
            config = config(platform)
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise ValueError(
            f"{path}: must define `config`, a nerf_jax.config.Config or a function of the "
            f"platform that returns one; found {type(config).__name__}"
        )
    return config
