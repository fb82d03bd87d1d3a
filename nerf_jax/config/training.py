"""Training, evaluation and the video."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from nerf_jax.config.checks import (
    BELOW_ONE,
    NOT_EMPTY,
    POSITIVE,
    Constraint,
    Section,
    at_least,
    below_power_of_two,
)

LARGEST_SIDE = 2**15
"""Maximum height and width of a frame, in pixels."""

Output = Literal["color", "depth", "normals"]
Format = Literal["mp4", "gif", "png", "png16", "exr"]
PATHS = ("orbit", "ellipse", "spiral", "tour", "spline")

_ASCENDING = Constraint(
    "positive and ascending",
    lambda epochs: all(epoch > 0 for epoch in epochs) and list(epochs) == sorted(epochs),
)
_FRAME_SIZE = Constraint(
    f"two sides of 1 to {LARGEST_SIDE} pixels",
    lambda size: all(0 < side <= LARGEST_SIDE for side in size),
)
_PATH = Constraint(
    f"{', '.join(PATHS)}, or a file that ends in .json",
    lambda path: path in PATHS or path.endswith(".json"),
)
_NOT_A_POLE = Constraint("between -90 and 90", lambda degrees: -90 < degrees < 90)
"""At the poles, the vertical direction has no projection into the image."""


@dataclass(frozen=True)
class Exponential(Section):
    """A learning rate that decays exponentially, and then stays constant."""

    prefix = "optimizer.schedule"

    kind: Literal["exponential"] = "exponential"
    final: Annotated[float, POSITIVE] = 0.1
    """Factor of the learning rate after `steps`."""
    steps: Annotated[int, at_least(0)] = 250_000
    """Steps of the decay; absolute, so that an extended run repeats the same steps. 0, in
    runs that began before there was a cosine: the cosine."""


@dataclass(frozen=True)
class Cosine(Section):
    """A learning rate that falls by half a cosine over all of training, whether its steps or its
    time end first, so that short and long runs end alike (Loshchilov and Hutter, 2017, Eq. 5).
    """

    prefix = "optimizer.schedule"

    kind: Literal["cosine"] = "cosine"
    final: Annotated[float, POSITIVE] = 0.03
    """Factor of the learning rate at the end."""


@dataclass(frozen=True)
class Milestones(Section):
    """A learning rate that is multiplied by `factor` at the start of given epochs."""

    prefix = "optimizer.schedule"

    kind: Literal["milestones"] = "milestones"
    epochs: Annotated[tuple[float, ...], _ASCENDING] = (2.0, 4.0, 8.0)
    """An epoch is one pass over the rays of the training split."""
    factor: Annotated[float, POSITIVE] = 0.5


@dataclass(frozen=True)
class OptimizerConfig(Section):
    """Adam and its learning rate."""

    prefix = "optimizer"

    learning_rate: Annotated[float, POSITIVE] = 5e-4
    warmup_steps: Annotated[int, at_least(0)] = 0
    """Steps over which the learning rate rises linearly from a hundredth of its value."""
    schedule: Exponential | Cosine | Milestones = field(default_factory=Exponential)
    pose_learning_rate: Annotated[float, BELOW_ONE] = 0.0
    """Learning rate of the camera poses, in radians and world units; 0: the poses are fixed."""
    beta1: Annotated[float, BELOW_ONE] = 0.9
    beta2: Annotated[float, BELOW_ONE] = 0.999
    epsilon: Annotated[float, POSITIVE] = 1e-8


@dataclass(frozen=True)
class TrainConfig(Section):
    """Duration, batch size, and intervals of reports, validation and checkpoints."""

    prefix = "train"

    num_steps: Annotated[int, POSITIVE, below_power_of_two(31)] = 200_000
    max_seconds: Annotated[float | None, POSITIVE] = None
    """Time limit of training, without compilation, validation and checkpoints."""
    rays_per_step: Annotated[int, POSITIVE] = 4096
    """Rays of a step, divided among all devices."""
    rays_per_pass: int = 0
    """Rays of one gradient evaluation: bounds the memory, does not change the result. 0: all rays
    of a step; on a CPU, 128 for the methods without a hash grid, which suits its caches."""
    steps_per_call: Annotated[int, at_least(0)] = 0
    """Steps of one compiled `lax.scan`; 0: about a second's worth."""
    seed: Annotated[int, at_least(0), below_power_of_two(32)] = 0
    report_every_seconds: Annotated[float, at_least(0)] = 1.0
    """Seconds between lines of metrics.jsonl, written at the end of a call; 0: at every call."""
    validate_every: Annotated[int, at_least(0)] = 1000
    """Steps between scores on held-out rays; 0 for none."""
    validation_rays: Annotated[int, at_least(0)] = 0
    """Held-out rays of such a score, from all images of the validation split; 0: as many as
    ``eval.rays_per_chunk``, which the same program renders."""
    checkpoint_every: Annotated[int, at_least(0)] = 5000
    """Steps between checkpoints; 0: only one, at the end."""


@dataclass(frozen=True)
class EvalConfig(Section):
    """Scores on held-out views."""

    prefix = "eval"

    split: str = "val"
    every: Annotated[int, POSITIVE] = 1
    """Only every k-th view is evaluated."""
    rays_per_chunk: Annotated[int, POSITIVE] = 4096
    """Rays rendered at once: bounds the memory of evaluation and rendering."""


@dataclass(frozen=True)
class RenderConfig(Section):
    """The video."""

    prefix = "render"

    path: Annotated[str, _PATH] = "orbit"
    """The camera path. orbit: a circle around the point that the cameras look at; ellipse: the same
    through the capture; spiral: in front of a point, for photos from one side; tour: past the
    training cameras, for captures that were not taken from all sides; spline: exactly through them,
    in order. Or a file that ends in .json, with the fields of nerfstudio's camera paths."""
    num_frames: Annotated[int, at_least(0)] = 60
    """Frames of the path; 0 for no video. A path file has its own."""
    fps: Annotated[float | None, POSITIVE] = None
    """Frames per second. Default: given by the path file, or else 15."""
    size: Annotated[tuple[int, int] | None, _FRAME_SIZE] = None
    """Height and width. Default: given by the path file, or else the dataset's."""
    downscale: Annotated[int, POSITIVE] = 1
    """Factor by which frames are reduced."""
    elevation_degrees: Annotated[float | None, _NOT_A_POLE] = None
    """Elevation of an orbit above the horizon. Default: the mean of the training cameras."""
    outputs: Annotated[tuple[Output, ...], NOT_EMPTY] = ("color", "depth")
    """The rendered quantities. Depth is coloured by one scale for all frames, which is printed."""
    formats: Annotated[tuple[Format, ...], NOT_EMPTY] = ("mp4",)
    """The formats of each output. mp4 and gif are videos, the others folders of frames: png 8 bits;
    png16 16 bits, depth as numbers; exr float32, depth as numbers and colour linear."""
    depth_unit: Annotated[float, POSITIVE] = 0.001
    """One step of depth in png16, in units of the dataset's files."""
    keep_frames: bool = False
    """Keep the rendered frames, so that other outputs and formats of the same path need no
    rendering. Otherwise they are kept until the end, so that an interrupted render can resume."""
