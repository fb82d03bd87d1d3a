"""Checkpoints: any pytree of arrays, saved and restored by Orbax.

Saving is asynchronous and atomic: a copy on the host is written aside while training goes on,
and renamed when it is whole.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

T = TypeVar("T")


class Checkpoints:
    """The checkpoints in one folder, the newest few of them.

    Args:
        folder: made if absent when something is saved.
        keep: how many to keep.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder.resolve()
        self._keep = keep
        self._open: ocp.CheckpointManager | None = None

    def _manager(self) -> ocp.CheckpointManager:
        if self._open is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=self._keep, create=True)
            self._open = ocp.CheckpointManager(self.folder, options=options)
        return self._open

    def latest(self) -> int | None:
        """The step of the newest whole checkpoint; None if there is none."""
        steps = [int(path.name) for path in self.folder.glob("*") if path.name.isdigit()]
        return max(steps, default=None)

    def save(self, step: int, tree: Any, about: dict[str, Any]) -> None:
        """Begin to save ``tree`` and what there is to say ``about`` it, plain enough for JSON.

        A checkpoint of the same step is left as it is. Returns once the arrays are copied.

        Raises:
            OSError: this checkpoint or the one before could not be written.
        """
        with self._naming_the_folder():
            if step in self._manager().all_steps():
                return
            # A true copy: on a CPU the arrays' memory may be handed on to the next step.
            copy = jax.tree.map(lambda leaf: np.array(leaf, copy=True), _without_keys(tree))
            self._check_room(sum(leaf.nbytes for leaf in jax.tree.leaves(copy)))
            args = ocp.args.Composite(
                tree=ocp.args.StandardSave(copy), about=ocp.args.JsonSave(about)
            )
            self._manager().save(step, args=args)

    def close(self) -> None:
        """Wait until what has begun is saved.

        Raises:
            OSError: it could not be.
        """
        if self._open is not None:
            with self._naming_the_folder():
                self._open.wait_until_finished()
            self._open.close()
            self._open = None

    def _check_room(self, size: int) -> None:
        """Better said before than found out by a dozen threads, each with a traceback."""
        wanted, free = 2 * size + 2**20, shutil.disk_usage(self.folder).free
        if free < wanted:
            raise OSError(f"no space left: {free >> 20} MiB free of {wanted >> 20} MiB wanted")

    @contextlib.contextmanager
    def _naming_the_folder(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and its storage raise what they like
            raise OSError(
                f"{self.folder}: the checkpoint could not be written ({_first_line(error)}). "
                f"The newest whole one is of step {self.latest()}; make room and go on from it "
                "with --resume"
            ) from error

    def restore(self, like: T, step: int | None = None) -> T:
        """The saved tree.

        Args:
            like: a tree of the same structure, shapes and types, of arrays, whose shardings are
                taken over, or of ``jax.ShapeDtypeStruct``.
            step: which checkpoint; the newest if None.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged, or holds something else than ``like``.
        """
        step = self._step(step)
        shapes = jax.eval_shape(_without_keys, like)
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
        try:
            args = ocp.args.Composite(tree=ocp.args.StandardRestore(target))
            tree = self._manager().restore(step, args=args)["tree"]
            for wanted, found in zip(jax.tree.leaves(target), jax.tree.leaves(tree), strict=True):
                if wanted.shape != found.shape:
                    raise ValueError(f"an array of shape {found.shape} for {wanted.shape}")
        except Exception as error:  # Orbax and its storage raise what they like
            raise ValueError(
                f"{self.folder / str(step)}: damaged, or made by another method or other sizes "
                f"than this config's ({_first_line(error)}). If another checkpoint is beside it, "
                "moving this one away falls back to that"
            ) from error
        return _with_keys_of(like, tree)

    def about(self, step: int | None = None) -> dict[str, Any]:
        """What was said about a checkpoint when it was saved.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: it is damaged.
        """
        step = self._step(step)
        try:
            args = ocp.args.Composite(about=ocp.args.JsonRestore())
            return self._manager().restore(step, args=args)["about"]
        except Exception as error:  # Orbax and its storage raise what they like
            raise ValueError(
                f"{self.folder / str(step)}: not a checkpoint of nerf_jax, or damaged "
                f"({_first_line(error)}). If another is beside it, moving this one away falls "
                "back to that"
            ) from error

    def _step(self, step: int | None) -> int:
        found = self.latest() if step is None else step
        if found is None:
            raise FileNotFoundError(f"{self.folder}: no checkpoint there yet")
        return found


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key)


def _without_keys(tree: Any) -> Any:
    """Typed keys as the numbers they are: the one leaf that is no plain array."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _with_keys_of(like: T, tree: Any) -> T:
    def restored(wanted: Any, found: Any) -> Any:
        if _is_key(wanted):
            found = jax.random.wrap_key_data(jax.numpy.asarray(found))
        return jax.device_put(found, wanted.sharding) if isinstance(wanted, jax.Array) else found

    return jax.tree.map(restored, like, tree)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
