"""What a run is made of: frozen dataclasses, checked when they are made, and no jax.

A config file is Python that defines ``config``: a :class:`Config`, or a function of the
platform ("cpu", "gpu" or "tpu") that returns one where sizes should suit the device. Its
docstring says the command and what to expect. A finished run keeps the resolved config as
``config.json``; :mod:`nerf_jax.plain` has that file's two directions.
"""

import math
import runpy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nerf_jax.plain import near_miss

CONFIGS = Path(__file__).parent / "configs"


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {expected}, but is {value!r}")


def _require_positive(section: object, prefix: str, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        _require(math.isfinite(value) and value > 0, f"{prefix}.{name}", value, "positive")


@dataclass(frozen=True)
class DataConfig:
    """Which scene, and how it is read."""

    scene: str = "bricks"
    """The built-in `bricks`, or the folder to look for (`lego` is downloaded if absent)."""
    root: Path | None = None
    """The scene's folder, a folder that holds it, or a ray dataset (.npz, .npy).
    Without it, $NERF_JAX_DATA and ./data are searched."""
    format: Literal["auto", "bricks", "blender", "rays"] = "auto"
    """How the files are written; `auto` recognises it."""
    downscale: int = 1
    """Images are shrunk by this factor, averaging areas."""
    image_size: tuple[int, int] | None = None
    """Height and width of the images of a ray dataset, where its file does not say."""
    near: float = 2.0
    """Where rays start, in world units from the camera."""
    far: float = 6.0
    """Where rays end."""
    background: Literal["white", "black", "random"] = "white"
    """Behind transparent pixels. `random`: a colour for every training ray, white in views."""

    def __post_init__(self) -> None:
        _require(self.downscale >= 1, "data.downscale", self.downscale, "at least 1")
        _require(0 <= self.near < self.far, "data.near", self.near, f"in [0, far={self.far})")
        _require(math.isfinite(self.far), "data.far", self.far, "finite")
        if self.image_size is not None:
            _require(min(self.image_size) >= 1, "data.image_size", self.image_size, "positive")


@dataclass(frozen=True)
class TutorialConfig:
    """The 100-line NeRF: one network, stratified bins, ReLU density, a last interval of 1e10."""

    method: Literal["tutorial"] = "tutorial"
    num_samples: int = 192
    """Bins along a ray."""
    width: int = 256
    """Units of a hidden layer."""
    position_bands: int = 10
    """Frequencies of the encoding of positions."""
    direction_bands: int = 4
    """Frequencies of the encoding of directions."""

    def __post_init__(self) -> None:
        _require_positive(self, "model", "num_samples", "width")
        _require(self.num_samples >= 2, "model.num_samples", self.num_samples, "at least 2")
        _require(self.position_bands >= 0, "model.position_bands", self.position_bands, ">= 0")
        _require(self.direction_bands >= 0, "model.direction_bands", self.direction_bands, ">= 0")


@dataclass(frozen=True)
class NerfConfig:
    """The 2020 paper: a coarse and a fine network, trained together."""

    method: Literal["nerf"] = "nerf"
    num_coarse: int = 64
    """Stratified samples, read by the coarse network."""
    num_fine: int = 128
    """Further samples, where the coarse network saw something; the fine one reads them all."""
    depth: int = 8
    """Hidden layers before the density."""
    width: int = 256
    """Units of a hidden layer."""
    skip: int = 5
    """The position enters again beside this layer's output (counted from 1); 0 for never."""
    density_activation: Literal["relu", "softplus"] = "relu"
    """The paper's ReLU, or mip-NeRF's softplus: a small network at a large learning rate needs it,
    for a ReLU that is pushed below zero everywhere stays there, and the scene empty."""
    position_bands: int = 10
    """Frequencies of the encoding of positions."""
    direction_bands: int = 4
    """Frequencies of the encoding of directions."""

    def __post_init__(self) -> None:
        _require_positive(self, "model", "num_coarse", "num_fine", "depth", "width")
        _require(self.num_coarse >= 2, "model.num_coarse", self.num_coarse, "at least 2")
        _require(0 <= self.skip <= self.depth, "model.skip", self.skip, f"in [0, {self.depth}]")
        _require(self.position_bands >= 0, "model.position_bands", self.position_bands, ">= 0")
        _require(self.direction_bands >= 0, "model.direction_bands", self.direction_bands, ">= 0")


@dataclass(frozen=True)
class HashConfig:
    """The flagship: a hash grid, an occupancy grid, and evaluation only where it matters."""

    method: Literal["hash"] = "hash"
    box_center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the cube that the scene is within, in world units."""
    box_radius: float = 1.5
    """Half the side of that cube; nothing outside is seen."""
    num_levels: int = 16
    """Levels of the hash grid."""
    num_features: int = 2
    """Features of a level."""
    max_entries: int = 2**19
    """Entries of a level's table; a level with fewer vertices has a table of its own size."""
    min_resolution: int = 16
    """Vertices along the side of the box, of the coarsest level."""
    max_resolution: int = 2048
    """And of the finest. What one pixel covers in the middle of the scene is a good size."""
    width: int = 64
    """Units of a hidden layer."""
    grid_resolution: int = 128
    """Cells along the side of the occupancy grid."""
    grid_every: int = 16
    """Steps between looks at the grid; four times as often while it is new."""
    grid_cells: int = 2**20
    """Cells of a look."""
    grid_alpha: float = 0.01
    """A cell is occupied if a step through it stops more of the light than this."""
    num_candidates: int = 1024
    """Steps across the box."""
    max_samples: int = 2**18
    """Samples of a training step, and of rendering at once: what bounds time and memory."""
    min_transmittance: float = 1e-4
    """What less light reaches than this is not looked at."""
    min_alpha: float = 1e-4
    """Samples that stop less of the light than this are left out."""
    huber: float = 0.1
    """Errors of a colour beyond this count linearly; 0 for L2."""

    def __post_init__(self) -> None:
        positive = ("box_radius", "num_levels", "num_features", "max_entries", "width")
        _require_positive(self, "model", *positive, "grid_every", "grid_cells", "max_samples")
        _require(
            len(self.box_center) == 3 and all(map(math.isfinite, self.box_center)),
            "model.box_center",
            self.box_center,
            "three finite numbers",
        )
        least, most = self.min_resolution, self.max_resolution
        _require(2 <= least <= most, "model.min_resolution", least, f"in [2, {most}]")
        cells = self.grid_resolution
        _require(cells > 0 and cells % 4 == 0, "model.grid_resolution", cells, "a multiple of 4")
        # A step no longer than a cell: the diagonal is sqrt(3) sides.
        count, needed = self.num_candidates, math.ceil(3**0.5 * cells / 8) * 8
        right = count >= needed and count % 8 == 0
        _require(
            right,
            "model.num_candidates",
            count,
            f"a multiple of 8 and at least {needed}, for a grid of {cells} cells",
        )
        _require(
            self.max_samples >= count,
            "model.max_samples",
            self.max_samples,
            f"at least model.num_candidates, {count}, so that there is room for one ray",
        )
        for name in ("grid_alpha", "min_transmittance", "min_alpha"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"model.{name}", value, "in [0, 1)")
        _require(self.huber >= 0, "model.huber", self.huber, "at least 0")


@dataclass(frozen=True)
class Exponential:
    """The learning rate falls along an exponential, and stays at its end."""

    kind: Literal["exponential"] = "exponential"
    final: float = 0.1
    """What is left of the learning rate after `steps`."""
    steps: int = 250_000
    """Steps until then. Absolute, so that a resumed or lengthened run repeats the same steps."""

    def __post_init__(self) -> None:
        _require_positive(self, "optimizer.schedule", "final", "steps")


@dataclass(frozen=True)
class Milestones:
    """The learning rate is multiplied by `factor` at the start of each epoch named."""

    kind: Literal["milestones"] = "milestones"
    epochs: tuple[float, ...] = (2.0, 4.0, 8.0)
    """An epoch is as many steps as the rays of the training split take."""
    factor: float = 0.5

    def __post_init__(self) -> None:
        _require_positive(self, "optimizer.schedule", "factor")
        _require(
            all(epoch > 0 for epoch in self.epochs) and list(self.epochs) == sorted(self.epochs),
            "optimizer.schedule.epochs",
            self.epochs,
            "positive and ascending",
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam, and its learning rate."""

    learning_rate: float = 5e-4
    warmup_steps: int = 0
    """The learning rate rises linearly from a hundredth over these first steps."""
    schedule: Exponential | Milestones = field(default_factory=Exponential)
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _require_positive(self, "optimizer", "learning_rate", "epsilon")
        _require(self.warmup_steps >= 0, "optimizer.warmup_steps", self.warmup_steps, ">= 0")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"optimizer.{name}", value, "in [0, 1)")


@dataclass(frozen=True)
class TrainConfig:
    """How long, how much at a time, and how often to look."""

    num_steps: int = 200_000
    max_seconds: float | None = None
    """Training ends after this time too, not counting compilation, validation and checkpoints."""
    rays_per_step: int = 4096
    """Shared out over all devices."""
    rays_per_pass: int = 0
    """Rays whose gradient is taken at once: bounds the memory, changes nothing else.
    0: all of a step's, but 128 on a CPU, whose caches that suits."""
    steps_per_call: int = 0
    """Steps of one compiled `lax.scan`, between looks from the host; 0: about a second's worth."""
    seed: int = 0
    report_every_seconds: float = 1.0
    """A line of metrics.jsonl, at the first call to end after this time; 0: at every call."""
    validate_every: int = 1000
    """Steps between scores on held-out rays; 0 for never."""
    validation_rays: int = 4096
    """Held-out rays of such a score, spread over all images of the validation split."""
    checkpoint_every: int = 5000
    """Steps between checkpoints; one is always made at the end. 0: only at the end."""

    def __post_init__(self) -> None:
        _require_positive(self, "train", "num_steps", "rays_per_step", "validation_rays")
        if self.max_seconds is not None:
            _require_positive(self, "train", "max_seconds")
        for name in (
            "steps_per_call",
            "seed",
            "report_every_seconds",
            "validate_every",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            _require(value >= 0, f"train.{name}", value, "at least 0")
        _require(self.num_steps < 2**31, "train.num_steps", self.num_steps, "below 2^31")
        _require(self.seed < 2**32, "train.seed", self.seed, "below 2^32")


@dataclass(frozen=True)
class EvalConfig:
    """Scores on held-out views."""

    split: str = "val"
    every: int = 1
    """Each so manieth view only."""
    rays_per_chunk: int = 4096
    """Rays rendered at once: bounds the memory of evaluation and rendering."""

    def __post_init__(self) -> None:
        _require_positive(self, "eval", "every", "rays_per_chunk")


@dataclass(frozen=True)
class RenderConfig:
    """The orbit video."""

    num_frames: int = 60
    """Over one turn; 0 for no video."""
    fps: float = 15.0
    downscale: int = 1
    """Frames are this much smaller than the images of the dataset."""
    elevation_degrees: float | None = None
    """Of the camera over the horizon; without it, the mean of the training cameras."""

    def __post_init__(self) -> None:
        _require(self.num_frames >= 0, "render.num_frames", self.num_frames, "at least 0")
        _require_positive(self, "render", "fps", "downscale")
        elevation = self.elevation_degrees
        between = elevation is None or -90 < elevation < 90  # at the poles, no way is up
        _require(between, "render.elevation_degrees", elevation, "between -90 and 90")


@dataclass(frozen=True)
class Config:
    """One run, whole."""

    name: str = "unnamed"
    """Of the run's folder under `outputs/`."""
    note: str = ""
    """Why the sizes are what they are; said at the start."""
    data: DataConfig = field(default_factory=DataConfig)
    model: HashConfig | NerfConfig | TutorialConfig = field(default_factory=NerfConfig)
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
