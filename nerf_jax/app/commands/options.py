"""Command lines over dataclasses: every field is an option of its name."""

import argparse
from pathlib import Path
from typing import TypeVar

from nerf_jax.data.files import optional_import

tyro = optional_import("tyro", "nerf_jax[app]")

T = TypeVar("T")

MISSING = tyro.MISSING
"""The default of what must be given."""

OUTPUT = tyro.conf.arg(aliases=("--out",))
"""Of the option for where files go, in every command."""


def parse(kind: type[T], arguments: list[str], default: T) -> T:
    """The command line over a default; mistakes end the program with the near misses named."""
    return tyro.cli(
        kind,
        prog="run.py",
        args=arguments,
        default=default,
        config=(tyro.conf.AvoidSubcommands,),
    )


def peek(arguments: list[str]) -> argparse.Namespace:
    """The options that decide where all the other options' defaults come from."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", default="bricks.py")
    parser.add_argument("--output", "--out", type=Path)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_known_args(arguments)[0]
