"""How a method is trained, scored and shown."""

from dataclasses import dataclass, field
from typing import Literal

from nerf_jax.config.checks import require, require_positive

LARGEST_SIDE = 2**15
"""Of a frame, in pixels."""


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


PATHS = ("orbit", "ellipse", "spiral", "tour", "spline")


@dataclass(frozen=True)
class RenderConfig:
    """The video."""

    path: str = "orbit"
    """orbit: a turn around what the cameras look at; ellipse: the same through the middle of the
    capture; spiral: before one point, for photos from one side; tour: past the training cameras,
    for captures that were not taken from all around; spline: exactly through them, in their order.
    Or a file that ends in .json, with the fields of nerfstudio's camera paths."""
    num_frames: int = 60
    """Over the whole path; 0 for no video. A path's file has its own."""
    fps: float | None = None
    """Frames a second; without it, those of a path's file, or 15."""
    size: tuple[int, int] | None = None
    """Height and width; without it, those of a path's file, or of the dataset's images. Another
    shape shows more or less at the sides."""
    downscale: int = 1
    """Frames are this much smaller."""
    elevation_degrees: float | None = None
    """Of an orbit's camera over the horizon; without it, the mean of the training cameras."""
    outputs: tuple[Literal["color", "depth", "normals"], ...] = ("color", "depth")
    """What is seen. Depth is coloured by one scale for all frames, which is told."""
    formats: tuple[Literal["mp4", "gif", "png", "png16", "exr"], ...] = ("mp4",)
    """Of each output. mp4 and gif are videos; the others folders of frames: png 8 bits, png16 16
    bits with depth as numbers, exr float32 with depth as numbers and colour made linear."""
    depth_unit: float = 0.001
    """A step of png16's depth, in units of the dataset's files: a millimetre where those are
    metres."""
    keep_frames: bool = False
    """Keep what was rendered, so that other outputs and formats of the same path need no rendering.
    Else it is there until the end only, for a render that is broken off to go on from."""

    def __post_init__(self) -> None:
        require(
            self.path in PATHS or self.path.endswith(".json"),
            "render.path",
            self.path,
            f"{', '.join(PATHS)}, or a file that ends in .json",
        )
        require(self.num_frames >= 0, "render.num_frames", self.num_frames, "at least 0")
        require_positive(self, "render", "downscale", "depth_unit")
        if self.fps is not None:
            require_positive(self, "render", "fps")
        sides = self.size is None or all(0 < side <= LARGEST_SIDE for side in self.size)
        require(sides, "render.size", self.size, f"two sides of 1 to {LARGEST_SIDE} pixels")
        elevation = self.elevation_degrees
        between = elevation is None or -90 < elevation < 90  # at the poles, no way is up
        require(between, "render.elevation_degrees", elevation, "between -90 and 90")
        for name in ("outputs", "formats"):
            require(bool(getattr(self, name)), f"render.{name}", getattr(self, name), "not empty")
