"""The formats of the fuzz campaign.

A reader returns plain values, by name: arrays, or JSON values. The independent reader, which is
json, NumPy, Pillow or pycolmap alone, returns the values that it is sure of: these are compared.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import fuzz_captures as captures
import fuzz_colmap as colmap
import fuzz_runs as runs
from fuzz_captures import Values


class Format(NamedTuple):
    """One kind of input."""

    files: tuple[str, ...]
    """Patterns of the files that are mutated, one at a time, below the input's folder."""
    write: Callable[[Path], None]
    """Write a valid input into an empty folder."""
    read: Callable[[Path], Values]
    """By the package."""
    expect: Callable[[Path], Values]
    """By other means. May raise anything for an input that it cannot read."""


RUN_FILES = ("config.json", "setting.npz", "metrics.jsonl", "checkpoints/7/*/metadata")
RUN_FILES += ("checkpoints/7/*", "checkpoints/7/tree/**/*", "checkpoints/7/about/*")
REPORT_FILES = ("results.json", "metrics.jsonl", "images/val/*.png")


def _of(module: ModuleType, files: tuple[str, ...], write: str, read: str) -> Format:
    """The format that functions of a module write and read."""
    names = f"write_{write}", f"read_{read}", f"expect_{read}"
    return Format(files, *(getattr(module, name) for name in names))


FORMATS: dict[str, tuple[Format, int]] = {
    "transforms.json": (_of(captures, ("transforms.json",), "transforms", "transforms"), 1600),
    "Blender's transforms": (_of(captures, ("*.json",), "blender", "blender"), 900),
    "masks and photos": (
        _of(captures, ("mask.png", "images/*.png"), "transforms", "transforms"),
        500,
    ),
    "images": (_of(captures, ("*",), "images", "images"), 1500),
    "LLFF": (_of(captures, ("poses_bounds.npy",), "llff", "llff"), 800),
    "COLMAP, binary": (_of(colmap, ("sparse/0/*.bin",), "colmap_binary", "colmap"), 1200),
    "COLMAP, text": (_of(colmap, ("sparse/0/*.txt",), "colmap_text", "colmap"), 1200),
    "ray tables": (_of(captures, ("*.np?",), "rays", "rays"), 1100),
    "camera paths": (_of(captures, ("path.json",), "camera_path", "camera_path"), 750),
    "runs": (_of(runs, RUN_FILES, "run", "run"), 300),
    "reports of runs": (_of(runs, REPORT_FILES, "run", "report"), 150),
}
"""By name; and the number of inputs of the whole campaign, 10,000 in all."""
