"""Evaluates a function in chunks, which bounds the memory it needs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def in_chunks(
    function: Callable[[Any], Any],
    rows: Any,
    size: int = 2**16,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Any:
    """A compiled function of ``size`` rows applied to any number of rows, as NumPy arrays.

    It is compiled once: the last chunk is padded with copies of the last row.

    Args:
        function: from a pytree of arrays to another, row by row.
        rows: a pytree of NumPy arrays with n rows each, at least one.
        size: rows per call.
        on_progress: called with the number of rows done and their total.
    """
    count = len(jax.tree.leaves(rows)[0])
    parts = []
    for start in range(0, count, size):
        index = np.minimum(np.arange(start, start + size), count - 1)
        chunk = jax.tree.map(lambda leaf, index=index: leaf[index], rows)
        parts.append(jax.device_get(function(chunk)))
        on_progress(min(start + size, count), count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)
