"""Files that are written whole or not at all, and packages that may be missing."""

import contextlib
import importlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any


def optional_import(module: str, package: str) -> ModuleType:
    """Import an optional package.

    Raises:
        ImportError: it is missing; the message is the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{package} is needed here: pip install '{package}'") from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; renamed to ``path`` when all went well, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}-{path.name}")  # keeps the suffix: it names the format
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


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
