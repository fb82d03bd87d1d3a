"""How a method is trained, scored and shown."""

from dataclasses import dataclass, field
from typing import Literal

from nerf_jax.config.checks import require, require_positive


@dataclass(frozen=True)
class Exponential:
    """The learning rate falls along an exponential, and stays at its end."""

    kind: Literal["exponential"] = "exponential"
    final: float = 0.1
    """What is left of the learning rate after `steps`."""
    steps: int = 250_000
    """Steps until then. Absolute, so that a resumed or lengthened run repeats the same steps."""

    def __post_init__(self) -> None:
        require_positive(self, "optimizer.schedule", "final", "steps")


@dataclass(frozen=True)
class Milestones:
    """The learning rate is multiplied by `factor` at the start of each epoch named."""

    kind: Literal["milestones"] = "milestones"
    epochs: tuple[float, ...] = (2.0, 4.0, 8.0)
    """An epoch is as many steps as the rays of the training split take."""
    factor: float = 0.5

    def __post_init__(self) -> None:
        require_positive(self, "optimizer.schedule", "factor")
        require(
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
    pose_learning_rate: float = 0.0
    """Of the cameras' motions, in radians and world units; it follows the same schedule. 0: the
    cameras are where the files say."""
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require_positive(self, "optimizer", "learning_rate", "epsilon")
        rate = self.pose_learning_rate
        require(0 <= rate < 1, "optimizer.pose_learning_rate", rate, "in [0, 1)")
        require(self.warmup_steps >= 0, "optimizer.warmup_steps", self.warmup_steps, ">= 0")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            require(0 <= value < 1, f"optimizer.{name}", value, "in [0, 1)")


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
        require_positive(self, "train", "num_steps", "rays_per_step", "validation_rays")
        if self.max_seconds is not None:
            require_positive(self, "train", "max_seconds")
        for name in (
            "steps_per_call",
            "seed",
            "report_every_seconds",
            "validate_every",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            require(value >= 0, f"train.{name}", value, "at least 0")
        require(self.num_steps < 2**31, "train.num_steps", self.num_steps, "below 2^31")
        require(self.seed < 2**32, "train.seed", self.seed, "below 2^32")


@dataclass(frozen=True)
class EvalConfig:
    """Scores on held-out views."""

    split: str = "val"
    every: int = 1
    """Each so manieth view only."""
    rays_per_chunk: int = 4096
    """Rays rendered at once: bounds the memory of evaluation and rendering."""

    def __post_init__(self) -> None:
        require_positive(self, "eval", "every", "rays_per_chunk")


@dataclass(frozen=True)
class RenderConfig:
    """The video."""

    path: Literal["orbit", "tour"] = "orbit"
    """A turn around what the cameras look at, or a flight past the training cameras, for captures
    that were not taken from all around."""
    num_frames: int = 60
    """Over the whole path; 0 for no video."""
    fps: float = 15.0
    downscale: int = 1
    """Frames are this much smaller than the images of the dataset."""
    elevation_degrees: float | None = None
    """Of an orbit's camera over the horizon; without it, the mean of the training cameras."""

    def __post_init__(self) -> None:
        require(self.num_frames >= 0, "render.num_frames", self.num_frames, "at least 0")
        require_positive(self, "render", "fps", "downscale")
        elevation = self.elevation_degrees
        between = elevation is None or -90 < elevation < 90  # at the poles, no way is up
        require(between, "render.elevation_degrees", elevation, "between -90 and 90")
