"""Checkpoints: any pytree of arrays, saved and restored by Orbax.

Saving is asynchronous and atomic: a copy on the host is written to a temporary folder while
training goes on, and the folder is renamed when it is complete.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from nerf_jax.app import old_checkpoints
from nerf_jax.devices import replicate

T = TypeVar("T")


class Checkpoints:
    """The newest two checkpoints of one folder, which the first save creates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._open: ocp.CheckpointManager | None = None

    def _manager(self) -> ocp.CheckpointManager:
        if self._open is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True)
            self._open = ocp.CheckpointManager(self.folder, options=options)
        return self._open

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint; None if there is none."""
        steps = [int(path.name) for path in self.folder.glob("*") if path.name.isdigit()]
        return max(steps, default=None)

    def save(self, step: int, tree: Any, metadata: dict[str, Any]) -> None:
        """Begin to save a tree and its metadata (JSON); returns once the arrays are copied.

        A checkpoint of the same step is left unchanged.

        Raises:
            OSError: this checkpoint or the one before could not be written.
        """
        with self._write_errors():
            if step in self._manager().all_steps():
                return
            # A true copy: on a CPU the arrays' memory may be donated to the next step.
            copy = jax.tree.map(lambda leaf: np.array(leaf, copy=True), _without_keys(tree))
            size = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(copy)) + 2**20
            free = shutil.disk_usage(self.folder).free
            if free < size:  # else a dozen of Orbax's threads print a traceback each
                raise OSError(f"no space left: {free >> 20} MiB free of {size >> 20} MiB needed")
            args = ocp.args.Composite(
                tree=ocp.args.StandardSave(copy), about=ocp.args.JsonSave(metadata)
            )
            self._manager().save(step, args=args)

    def close(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
            OSError: it could not be written.
        """
        if self._open is not None:
            with self._write_errors():
                self._open.wait_until_finished()
            self._open.close()
            self._open = None

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and its storage raise many kinds of exceptions
            step = self.latest()
            latest = "No other is complete"
            if step is not None:
                latest = f"The newest complete one is of step {step}"
            raise OSError(
                f"{self.folder}: the checkpoint could not be written ({_first_line(error)}). "
                f"{latest}; free some space and continue with --resume"
            ) from error

    def restore(self, like: T) -> T:
        """The tree of the newest checkpoint.

        Args:
            like: a tree of the same structure, shapes and types: arrays, whose shardings the
                result takes over, or ``jax.ShapeDtypeStruct``.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged, or its tree differs from ``like``.
        """
        shapes = jax.eval_shape(_without_keys, like)
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
        reason = "damaged, or made by another method or other sizes than this config's"
        with self._read_errors(reason) as step:
            is_old = old_checkpoints.is_old(self.folder / str(step))
            saved = old_checkpoints.to_old(target) if is_old else target
            args = ocp.args.Composite(tree=ocp.args.StandardRestore(saved))
            tree = old_checkpoints.to_new(self._manager().restore(step, args=args)["tree"])
            for wanted, found in zip(jax.tree.leaves(target), jax.tree.leaves(tree), strict=True):
                if wanted.shape != found.shape:
                    raise ValueError(f"an array of shape {found.shape} for {wanted.shape}")
        return _with_keys_of(like, tree)

    def metadata(self, parse: Callable[[dict[str, Any]], T]) -> T:
        """The parsed metadata of the newest checkpoint; raises as :meth:`restore` does.

        Args:
            parse: raises any exception if they are damaged.
        """
        with self._read_errors("not a checkpoint of nerf_jax, or damaged") as step:
            args = ocp.args.Composite(about=ocp.args.JsonRestore())
            return parse(self._manager().restore(step, args=args)["about"])

    @contextlib.contextmanager
    def _read_errors(self, reason: str) -> Iterator[int]:
        step = self.latest()
        if step is None:
            raise FileNotFoundError(f"{self.folder}: no checkpoint there yet")
        try:
            yield step
        except Exception as error:  # Orbax and its storage raise many kinds of exceptions
            raise ValueError(
                f"{self.folder / str(step)}: {reason} ({_first_line(error)}). If the folder holds "
                "another checkpoint, move this one away to use that"
            ) from error


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key)


def _without_keys(tree: Any) -> Any:
    """Typed keys as the integers that they hold: Orbax saves plain arrays only."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _with_keys_of(like: T, tree: Any) -> T:
    def restored(wanted: Any, found: Any) -> Any:
        if isinstance(wanted, jax.Array):
            found = replicate(found, wanted.sharding)
        return jax.random.wrap_key_data(jax.numpy.asarray(found)) if _is_key(wanted) else found

    return jax.tree.map(restored, like, tree)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
