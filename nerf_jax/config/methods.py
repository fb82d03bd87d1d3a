"""A config dataclass for each method."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from nerf_jax.config.checks import (
    BELOW_ONE,
    NON_NEGATIVE,
    POSITIVE,
    Constraint,
    Section,
    at_least,
    require,
)

Corner = tuple[float, float, float]
"""x, y and z in world units."""

_FINITE = Constraint(
    "three finite numbers", lambda point: len(point) == 3 and all(map(math.isfinite, point))
)
_MULTIPLE_OF_4 = Constraint("a multiple of 4", lambda cells: cells > 0 and cells % 4 == 0)
_MODERATE = Constraint("between -15 and 15", lambda value: abs(value) < 15)


class MethodConfig(Section):
    """The properties of a method that the rest of the program depends on."""

    prefix = "model"

    @property
    def bounded(self) -> bool:
        """Whether the scene is an object in a box, and not a capture with its surroundings."""
        return True

    @property
    def scene_box(self) -> tuple[Corner, Corner] | None:
        """The lowest and highest corners of the box around the scene, or around its subject."""
        return None

    @property
    def learns_depth(self) -> bool:
        """Whether the loss compares depths with sparse points."""
        return False

    @property
    def has_environment(self) -> bool:
        """Whether the colour of what is infinitely far away is learned."""
        return False

    @property
    def has_camera_model(self) -> bool:
        """Whether exposure, white balance, vignetting and response are learned."""
        return False

    @property
    def is_sparse(self) -> bool:
        """Whether a small field is evaluated at few positions, not a large one at every sample."""
        return False


@dataclass(frozen=True)
class TutorialConfig(MethodConfig):
    """The 100-line NeRF: one network, stratified bins, ReLU density, a last interval of 1e10."""

    method: Literal["tutorial"] = "tutorial"
    num_samples: Annotated[int, at_least(2)] = 192
    """Bins of a ray."""
    width: Annotated[int, POSITIVE] = 256
    """Units of a hidden layer."""
    position_bands: Annotated[int, at_least(0)] = 10
    """Frequencies of the encoding of positions."""
    direction_bands: Annotated[int, at_least(0)] = 4
    """Frequencies of the encoding of directions."""


@dataclass(frozen=True)
class NerfConfig(MethodConfig):
    """The 2020 paper: a coarse and a fine network, trained together."""

    method: Literal["nerf"] = "nerf"
    num_coarse: Annotated[int, at_least(2)] = 64
    """Stratified samples of the coarse network."""
    num_fine: Annotated[int, POSITIVE] = 128
    """Samples drawn from the coarse weights; the fine network evaluates both sets."""
    depth: Annotated[int, POSITIVE] = 8
    """Hidden layers before the density."""
    width: Annotated[int, POSITIVE] = 256
    """Units of a hidden layer."""
    skip: int = 5
    """Layer, counted from 1, whose output the position is concatenated to; 0 for none."""
    density_activation: Literal["relu", "softplus"] = "relu"
    """The paper's ReLU, or mip-NeRF's softplus. A small network at a large learning rate needs
    softplus: a ReLU that is negative everywhere has no gradient, and the scene stays empty."""
    position_bands: Annotated[int, at_least(0)] = 10
    """Frequencies of the encoding of positions."""
    direction_bands: Annotated[int, at_least(0)] = 4
    """Frequencies of the encoding of directions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.skip <= self.depth, "model.skip", self.skip, f"in [0, {self.depth}]")


@dataclass(frozen=True)
class MipConfig(MethodConfig):
    """mip-NeRF: one network, evaluated on a pixel's cone instead of its central ray."""

    method: Literal["mip"] = "mip"
    num_samples: Annotated[int, at_least(2)] = 128
    """Stratified intervals of a ray, and as many resampled ones."""
    depth: Annotated[int, POSITIVE] = 8
    """Hidden layers before the density."""
    width: Annotated[int, POSITIVE] = 256
    """Units of a hidden layer."""
    skip: int = 5
    """Layer, counted from 1, whose output the position is concatenated to; 0 for none."""
    position_bands: Annotated[int, POSITIVE] = 16
    """Frequencies of the encoding of positions; those too high for a footprint are attenuated."""
    direction_bands: Annotated[int, at_least(0)] = 4
    """Frequencies of the encoding of directions."""
    coarse_weight: Annotated[float, NON_NEGATIVE] = 0.1
    """Weight of the loss of the stratified intervals; that of the resampled ones is 1."""
    resample_padding: Annotated[float, NON_NEGATIVE] = 0.01
    """Added to the weights before resampling, so that empty space is sampled too."""
    color_padding: Annotated[float, NON_NEGATIVE] = 0.001
    """The range of colours exceeds [0, 1] by this, so that black and white stay within reach."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.skip <= self.depth, "model.skip", self.skip, f"in [0, {self.depth}]")


@dataclass(frozen=True)
class GridConfig(MethodConfig):
    """The fields shared by all methods whose field is a hash grid."""

    method: str = ""
    space: Literal["auto", "box", "contracted", "frustum"] = "box"
    """The extent of the scene: a `box`; unbounded, `contracted` outside a cube; or the `frustum` of
    the mean camera, for photos taken from one side. `auto`: chosen by the photos."""
    box_center: Annotated[Corner, _FINITE] = (0.0, 0.0, 0.0)
    """Centre of the cube of `box` and `contracted`, in world units."""
    box_radius: Annotated[float, POSITIVE] = 1.5
    """Half the side of that cube. Outside a `box` the scene is empty."""
    num_levels: Annotated[int, POSITIVE] = 16
    """Levels of the hash grid."""
    num_features: Annotated[int, POSITIVE] = 2
    """Features of a level."""
    max_entries: Annotated[int, POSITIVE] = 2**19
    """Maximum table size of a level; a level with fewer vertices has one entry for each."""
    min_resolution: int = 16
    """Resolution of the coarsest level: vertices along the side of the space."""
    max_resolution: int = 2048
    """Resolution of the finest level. A cell the size of a pixel's footprint is a good choice."""
    footprint: Literal["point", "cone"] = "point"
    """The extent of a sample: a `point`; or its interval of the pixel's `cone`, for which levels
    with finer cells are attenuated (Zip-NeRF), so that renderings at a lower resolution or from
    farther away than the photos show no aliasing."""
    activations: Literal["float32", "bfloat16"] = "float32"
    """Element type of the networks' activations. Weights are float32."""
    corners: Literal["in_turn", "at_once"] = "in_turn"
    """How the corners of a cell are read from the hash grid: the same result, to rounding; in turn
    is faster on a CPU, at once on a GPU."""
    width: Annotated[int, POSITIVE] = 64
    """Units of a hidden layer."""
    density_bias: Annotated[float | None, _MODERATE] = None
    """Logarithm of the initial density per world unit. Default: -1 per half side of the cube, or in
    a frustum per distance of its near end."""
    environment: bool = False
    """Learn the colour of each direction infinitely far away, such as the sky's, and show it where
    a ray ends. For photos without alpha."""
    code_size: Annotated[int, NON_NEGATIVE] = 0
    """Size of the appearance code that is learned for each photo, for differences in exposure and
    white balance. Renderings use the mean code; held-out photos are also scored with codes fitted
    on their left halves, on their right halves."""
    huber: Annotated[float, NON_NEGATIVE] = 0.1
    """Colour error from which the loss is linear (Huber); 0 for L2."""
    distortion: Annotated[float, NON_NEGATIVE] = 0.0
    """Weight of the distortion loss, which prevents fog in front of the cameras."""
    depth_weight: Annotated[float, NON_NEGATIVE] = 0.0
    """Weight of the loss on known depths: of the capture's sparse points, and by a plane sweep."""
    depth_weight_final: Annotated[float, POSITIVE] = 1.0
    """Factor of that weight at the end of training: depths place surfaces, photos refine them."""

    @property
    def bounded(self) -> bool:
        return self.space == "box"

    @property
    def scene_box(self) -> tuple[Corner, Corner] | None:
        if self.space == "frustum":
            return None
        x, y, z = self.box_center
        r = self.box_radius
        return (x - r, y - r, z - r), (x + r, y + r, z + r)

    @property
    def learns_depth(self) -> bool:
        return self.depth_weight > 0

    @property
    def has_environment(self) -> bool:
        return self.environment

    @property
    def is_sparse(self) -> bool:
        return True

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = self.min_resolution, self.max_resolution
        require(2 <= least <= most, "model.min_resolution", least, f"in [2, {most}]")


def steps_in_box(resolution: int) -> int:
    """Steps along the diagonal of a box, none longer than a cell: a multiple of 8."""
    return math.ceil(3**0.5 * resolution / 8) * 8


@dataclass(frozen=True)
class HashConfig(GridConfig):
    """The flagship: a hash grid, evaluated only in the occupied cells that light reaches."""

    method: Literal["hash"] = "hash"
    grid_resolution: Annotated[int, _MULTIPLE_OF_4] = 128
    """Cells along the side of the occupancy grid."""
    grid_every: Annotated[int, POSITIVE] = 16
    """Steps between updates of the occupancy grid; a quarter of that at first."""
    grid_cells: Annotated[int, POSITIVE] = 2**20
    """Cells evaluated by an update."""
    grid_alpha: Annotated[float, BELOW_ONE] = 0.01
    """A cell is occupied if the alpha of one step through it exceeds this; in a box, a tenth of it
    at first, as thin things are learned late."""
    num_candidates: int = 1024
    """Steps across the space. They are uniform in a box, and grow with the distance elsewhere.
    0: as many as the cells of the occupancy grid need."""
    max_samples: Annotated[int, POSITIVE] = 2**18
    """Samples of a training step, and of one pass of rendering: bounds time and memory."""
    candidates_per_sample: Annotated[int, POSITIVE] = 6
    """Capacity for steps in occupied cells, as a multiple of max_samples. Captures need more."""
    loops: bool = True
    """Densities are read front to back until no light is left, and cells are found, in loops.
    Otherwise without: more arithmetic, but fewer kernels, and none that the host waits for, on a
    GPU. The result is the same, to rounding."""
    min_transmittance: Annotated[float, BELOW_ONE] = 1e-4
    """Candidates with less transmittance than this are not evaluated."""
    min_alpha: Annotated[float, BELOW_ONE] = 1e-4
    """Samples with less alpha than this are dropped."""
    camera_model: bool = False
    """Learn exposure and white balance of each photo, vignetting and response of the camera. New
    viewpoints are rendered without; held-out photos are scored with the values of the nearest
    training cameras."""
    camera_weight: Annotated[float, NON_NEGATIVE] = 1e-3
    """Weight of the camera model's distance from the identity."""
    roulette_weight: Annotated[float, BELOW_ONE] = 0.0
    """In training, of the samples with a smaller weight only a random part is taken, and weighs as
    much as all of them: more rays fit into a step. 0: all are taken."""
    direction_noise: Annotated[float, NON_NEGATIVE] = 0.0
    """Noise on the directions that colours depend on, in training: standard deviation, radians. In
    a frustum, where directions differ little, there is none."""

    @property
    def has_camera_model(self) -> bool:
        return self.camera_model

    def __post_init__(self) -> None:
        super().__post_init__()
        # A step is no longer than a cell, and the diagonal of a box is sqrt(3) sides. In the other
        # spaces the steps depend on the cameras too: `methods.hash_grid` checks those.
        cells, count = self.grid_resolution, self.num_candidates
        if not count:
            return
        needed = steps_in_box(cells)
        expected = f"a multiple of 8 and at least {needed}, for a grid of {cells} cells"
        require(count >= needed and count % 8 == 0, "model.num_candidates", count, expected)
        expected = f"at least model.num_candidates, {count}, to have room for one ray"
        require(self.max_samples >= count, "model.max_samples", self.max_samples, expected)


@dataclass(frozen=True)
class ProposalConfig(GridConfig):
    """A hash grid, sampled where smaller grids propose: for scenes with little empty space."""

    method: Literal["proposal"] = "proposal"
    num_proposals: tuple[int, ...] = (256, 96)
    """Samples of each proposal round; only their density is evaluated."""
    num_samples: Annotated[int, POSITIVE] = 48
    """Samples of the last round, evaluated in full."""
    proposal_resolutions: tuple[int, ...] = (128, 256)
    """Resolution of the finest level, for each proposal grid."""
    proposal_entries: Annotated[int, POSITIVE] = 2**17
    """Maximum table size of a level of the proposal grids."""
    proposal_width: Annotated[int, POSITIVE] = 16
    """Units of a proposal network's hidden layer."""
    interlevel: Annotated[float, POSITIVE] = 1.0
    """Weight of the interlevel loss, which makes the proposals bound the final weights."""
    anneal_steps: Annotated[int, at_least(0)] = 1000
    """Steps over which the proposals gain their full influence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least = self.min_resolution
        for name in ("num_proposals", "proposal_resolutions"):
            values = getattr(self, name)
            expected = f"one or more numbers of at least {least}"
            require(len(values) > 0 and min(values) >= least, f"model.{name}", values, expected)
        rounds, resolutions = len(self.num_proposals), self.proposal_resolutions
        expected = f"{rounds} numbers, one for each of model.num_proposals"
        require(len(resolutions) == rounds, "model.proposal_resolutions", resolutions, expected)
