"""A function of many places, a chunk of them at a time: what bounds the memory."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def in_chunks(
    function: Callable[[Any], Any],
    rows: Any,
    size: int = 2**16,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Any:
    """A compiled function of ``size`` rows, over any number of them.

    One compilation serves every chunk: the last is padded with its own last row.

    Args:
        function: of a pytree of arrays to another, row by row.
        rows: a pytree of NumPy arrays of n rows each, at least one.
        size: rows at once.
        tell: called with the rows done, and all of them.

    Returns:
        What it returns of all rows, as NumPy arrays.
    """
    count = len(jax.tree.leaves(rows)[0])
    parts = []
    for start in range(0, count, size):
        some = np.minimum(np.arange(start, start + size), count - 1)
        chunk = jax.tree.map(lambda leaf, some=some: leaf[some], rows)
        parts.append(jax.device_get(function(chunk)))
        tell(min(start + size, count), count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)
