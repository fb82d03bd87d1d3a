"""The methods and their sizes: a dataclass for each."""

import math
from dataclasses import dataclass
from typing import Literal

from nerf_jax.config.checks import require, require_positive

Corner = tuple[float, float, float]
"""x, y and z, world units."""


class MethodConfig:
    """The properties of a method that the rest of the program depends on."""

    @property
    def bounded(self) -> bool:
        """Whether the scene ends: an object, and not a capture with its surroundings."""
        return True

    @property
    def scene_box(self) -> tuple[Corner, Corner] | None:
        """The lowest and the highest corner of the box that the scene is in, or that its subject
        is in if it is unbounded; world units. None: the method has none.
        """
        return None

    @property
    def learns_depth(self) -> bool:
        """Whether the loss compares depths with sparse points."""
        return False

    @property
    def is_sparse(self) -> bool:
        """Whether the field is a small one read at few positions, and not a large network read at
        every sample.
        """
        return False


@dataclass(frozen=True)
class TutorialConfig(MethodConfig):
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
        require_positive(self, "model", "num_samples", "width")
        require(self.num_samples >= 2, "model.num_samples", self.num_samples, "at least 2")
        require(self.position_bands >= 0, "model.position_bands", self.position_bands, ">= 0")
        require(self.direction_bands >= 0, "model.direction_bands", self.direction_bands, ">= 0")


@dataclass(frozen=True)
class NerfConfig(MethodConfig):
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
        require_positive(self, "model", "num_coarse", "num_fine", "depth", "width")
        require(self.num_coarse >= 2, "model.num_coarse", self.num_coarse, "at least 2")
        require(0 <= self.skip <= self.depth, "model.skip", self.skip, f"in [0, {self.depth}]")
        require(self.position_bands >= 0, "model.position_bands", self.position_bands, ">= 0")
        require(self.direction_bands >= 0, "model.direction_bands", self.direction_bands, ">= 0")


@dataclass(frozen=True)
class MipConfig(MethodConfig):
    """mip-NeRF: one network, which sees what a pixel's cone holds and not a line alone."""

    method: Literal["mip"] = "mip"
    num_samples: int = 128
    """Stratified intervals of a ray, and as many again where the network saw something."""
    depth: int = 8
    """Hidden layers before the density."""
    width: int = 256
    """Units of a hidden layer."""
    skip: int = 5
    """The position enters again beside this layer's output (counted from 1); 0 for never."""
    position_bands: int = 16
    """Frequencies of the encoding of positions; those too fine for a footprint fade by themselves,
    so more do no harm."""
    direction_bands: int = 4
    """Frequencies of the encoding of directions."""
    coarse_weight: float = 0.1
    """Of the error seen in the stratified intervals, beside that seen in the others."""
    resample_padding: float = 0.01
    """Added to the weights that are drawn from: empty places are looked at too."""
    color_padding: float = 0.001
    """Colours reach so far beyond [0, 1], lest black and white ask for infinite weights."""

    def __post_init__(self) -> None:
        require_positive(self, "model", "num_samples", "depth", "width", "position_bands")
        require(self.num_samples >= 2, "model.num_samples", self.num_samples, "at least 2")
        require(0 <= self.skip <= self.depth, "model.skip", self.skip, f"in [0, {self.depth}]")
        require(self.direction_bands >= 0, "model.direction_bands", self.direction_bands, ">= 0")
        for name in ("coarse_weight", "resample_padding", "color_padding"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"model.{name}", value, "finite and at least 0")


@dataclass(frozen=True)
class GridConfig(MethodConfig):
    """What all methods have in common whose field is a hash grid."""

    method: str = ""
    space: Literal["box", "contracted", "frustum"] = "box"
    """What the scene is in: a `box` with nothing around it; all the world, `contracted` from a
    cube on; or the `frustum` of the mean camera, for photos taken from one side."""
    box_center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the cube that the scene is within, or contracted around, in world units."""
    box_radius: float = 1.5
    """Half the side of that cube. Outside of a `box` nothing is seen."""
    num_levels: int = 16
    """Levels of the hash grid."""
    num_features: int = 2
    """Features of a level."""
    max_entries: int = 2**19
    """Entries of a level's table; a level with fewer vertices has a table of its own size."""
    min_resolution: int = 16
    """Vertices along the side of the space, of the coarsest level."""
    max_resolution: int = 2048
    """And of the finest. What one pixel covers in the middle of the scene is a good size."""
    footprint: Literal["point", "cone"] = "point"
    """What a place along a ray stands for: a `point`; or the slice there of the `cone` that the
    pixel sees, for which levels with finer cells fade, so that pictures smaller than those learned
    from, or from farther away, do not flicker (Zip-NeRF)."""
    width: int = 64
    """Units of a hidden layer."""
    density_bias: float = -1.0
    """The density's logarithm at the start: of what no ray has shown to be there yet."""
    code_size: int = 0
    """Numbers learned of each photo, for what differs between them: exposure, white balance. What
    is rendered has their mean; scores of held-out photos are given with numbers of their own too,
    fitted on the left half and scored on the right."""
    huber: float = 0.1
    """Errors of a colour beyond this count linearly; 0 for L2."""
    distortion: float = 0.0
    """Of the loss that gathers what a ray sees at one place: against fog before the cameras."""
    depth_weight: float = 0.0
    """Of the loss that draws what a ray sees to where the capture's sparse points say it is."""

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
    def is_sparse(self) -> bool:
        return True

    def __post_init__(self) -> None:
        positive = ("box_radius", "num_levels", "num_features", "max_entries", "width")
        require_positive(self, "model", *positive)
        require(
            len(self.box_center) == 3 and all(map(math.isfinite, self.box_center)),
            "model.box_center",
            self.box_center,
            "three finite numbers",
        )
        least, most = self.min_resolution, self.max_resolution
        require(2 <= least <= most, "model.min_resolution", least, f"in [2, {most}]")
        require(abs(self.density_bias) < 15, "model.density_bias", self.density_bias, "in +-15")
        for name in ("code_size", "huber", "distortion", "depth_weight"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"model.{name}", value, "finite and at least 0")


@dataclass(frozen=True)
class HashConfig(GridConfig):
    """The flagship: a hash grid, an occupancy grid, and evaluation only where it matters."""

    method: Literal["hash"] = "hash"
    grid_resolution: int = 128
    """Cells along the side of the occupancy grid."""
    grid_every: int = 16
    """Steps between looks at the grid; four times as often while it is new."""
    grid_cells: int = 2**20
    """Cells of a look."""
    grid_alpha: float = 0.01
    """A cell is occupied if a step through it stops more of the light than this."""
    num_candidates: int = 1024
    """Steps across the space: even in a box, longer with the distance in the others."""
    max_samples: int = 2**18
    """Samples of a training step, and of rendering at once: what bounds time and memory."""
    candidates_per_sample: int = 6
    """Room for steps in occupied cells, most of which light does not reach; captures need more."""
    min_transmittance: float = 1e-4
    """What less light reaches than this is not looked at."""
    min_alpha: float = 1e-4
    """Samples that stop less of the light than this are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "model", "grid_every", "grid_cells", "max_samples")
        require_positive(self, "model", "candidates_per_sample")
        cells = self.grid_resolution
        require(cells > 0 and cells % 4 == 0, "model.grid_resolution", cells, "a multiple of 4")
        # A step no longer than a cell: the diagonal of a box is sqrt(3) sides. Elsewhere it depends
        # on the cameras' near and far as well, and is looked at again when those are known.
        sides = 3**0.5
        count, needed = self.num_candidates, math.ceil(sides * cells / 8) * 8
        right = count >= needed and count % 8 == 0
        require(
            right,
            "model.num_candidates",
            count,
            f"a multiple of 8 and at least {needed}, for a grid of {cells} cells",
        )
        require(
            self.max_samples >= count,
            "model.max_samples",
            self.max_samples,
            f"at least model.num_candidates, {count}, so that there is room for one ray",
        )
        for name in ("grid_alpha", "min_transmittance", "min_alpha"):
            value = getattr(self, name)
            require(0 <= value < 1, f"model.{name}", value, "in [0, 1)")


@dataclass(frozen=True)
class ProposalConfig(GridConfig):
    """A hash grid read where small ones propose: for scenes that are nowhere empty."""

    method: Literal["proposal"] = "proposal"
    num_proposals: tuple[int, ...] = (256, 96)
    """Samples of each round of proposals, of which only the density is read."""
    num_samples: int = 48
    """Samples that are read in full."""
    proposal_resolutions: tuple[int, ...] = (128, 256)
    """Of the finest level of each round's grid."""
    proposal_entries: int = 2**17
    """Entries of a level's table of those."""
    proposal_width: int = 16
    """Units of their hidden layer."""
    interlevel: float = 1.0
    """Of the loss that makes proposals cover what the field is found to hold."""
    anneal_steps: int = 1000
    """Steps while which proposals are not yet believed in full."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive = ("num_samples", "proposal_entries", "proposal_width", "interlevel")
        require_positive(self, "model", *positive)
        for name in ("num_proposals", "proposal_resolutions"):
            values = getattr(self, name)
            right = len(values) > 0 and min(values) >= self.min_resolution
            require(right, f"model.{name}", values, f"some of at least {self.min_resolution}")
        rounds = len(self.num_proposals)
        require(
            len(self.proposal_resolutions) == rounds,
            "model.proposal_resolutions",
            self.proposal_resolutions,
            f"{rounds} numbers, as many as model.num_proposals",
        )
        require(self.anneal_steps >= 0, "model.anneal_steps", self.anneal_steps, "at least 0")
