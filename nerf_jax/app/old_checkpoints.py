"""Checkpoints of version 0.1, for one release: their occupancy grids hold a coarse copy, in place
of distances.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nerf_jax.occupancy import Occupancy, chebyshev_distance


class _Occupancy(NamedTuple):
    space: Any
    density: Any
    visible: Any
    occupied: Any
    near_occupied: Any


def is_old(checkpoint: Path) -> bool:
    """Whether a checkpoint's folder is of version 0.1, and holds an occupancy grid."""
    metadata = checkpoint / "tree" / "_METADATA"
    return metadata.is_file() and b"near_occupied" in metadata.read_bytes()


def to_old(tree: Any) -> Any:
    """A tree of NumPy arrays of today's shapes with those of version 0.1."""

    def old(node: Any) -> Any:
        if not isinstance(node, Occupancy):
            return node
        return _Occupancy(*node[:-1], np.empty([side // 4 for side in node.occupied.shape], bool))

    return jax.tree.map(old, tree, is_leaf=lambda node: isinstance(node, Occupancy))


def to_new(tree: Any) -> Any:
    """A restored tree of version 0.1 as one of today."""

    def new(node: Any) -> Any:
        if not isinstance(node, _Occupancy):
            return node
        distance: Any = np.asarray(chebyshev_distance(jnp.asarray(node.occupied)))
        return Occupancy(*node[:-1], distance)

    return jax.tree.map(new, tree, is_leaf=lambda node: isinstance(node, _Occupancy))
