"""Atomic writes and optional packages."""

import contextlib
import errno
import importlib
import json
import os
import re
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

_TEMPORARY = re.compile(r"\.\d+-[0-9a-f]{8}(\..*)?")
"""Names that :func:`atomic_write` gives."""


def optional_import(module: str, package: str) -> ModuleType:
    """Import an optional package.

    Raises:
        ImportError: it is missing; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{package} is needed here: pip install '{package}'") from error


def cache_folder() -> Path:
    """The user's folder for files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nerf_jax"


def one_line(error: BaseException) -> str:
    """A library's message, which may hold the bytes of a damaged file, as a short line."""
    return " ".join(str(error).split())[:200]


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Name the file in the errors of a full disk, which libraries raise without it."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if not is_full or str(path) in str(error):
            raise
        raise OSError(
            f"{path}: could not be written ({error.strerror or error}); free some space, and "
            "repeat the command, training with --resume"
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path next to ``path``, renamed to ``path`` on success and removed on an error."""
    # Short, as names have at most 255 bytes; the suffix is the format.
    digest = zlib.crc32(os.fsencode(path.name))
    aside = path.with_name(f".{os.getpid()}-{digest:08x}{path.suffix[-16:]}")
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield aside
            os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def remove_unfinished(folder: Path, idle_seconds: float = 0) -> None:
    """Delete the temporary files that a process left in a folder when it was killed.

    A process that writes there meanwhile loses its file, with a ``FileNotFoundError``, unless it
    has changed it within ``idle_seconds``.
    """
    for path in folder.rglob(".*"):
        with contextlib.suppress(FileNotFoundError):
            is_idle = time.time() - path.stat().st_mtime >= idle_seconds
            if is_idle and _TEMPORARY.fullmatch(path.name):
                path.unlink()


def write_json(path: Path, content: Mapping[str, Any], indent: int = 2) -> None:
    """Write a JSON file atomically."""
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content, indent=indent) + "\n")


def require_writable(folder: Path) -> None:
    """Create a folder and check that files can be created in it.

    Raises:
        OSError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"{folder}: cannot be written to ({error.strerror}); name another folder by --output"
        ) from error
