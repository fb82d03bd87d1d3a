"""Command lines over dataclasses: every field is an option of its name."""

import argparse
import timeit
from pathlib import Path
from typing import TypeVar

import numpy as np

from nerf_jax.data.files import optional_import

tyro = optional_import("tyro", "nerf_jax[app]")

T = TypeVar("T")

MISSING = tyro.MISSING
"""The default of required arguments."""

OUTPUT = tyro.conf.arg(aliases=("--out",))
"""The settings of the option that names the output."""


def parse(kind: type[T], arguments: list[str], default: T) -> T:
    """The command line over a default; a mistake ends the program and names similar options."""
    config = (tyro.conf.AvoidSubcommands,)
    return tyro.cli(kind, prog="run.py", args=arguments, default=default, config=config)


def pick(kind: type[T], arguments: list[str]) -> T:
    """The options of one dataclass among those of others."""
    named = [argument for argument in arguments if argument not in ("-h", "--help")]
    return tyro.cli(kind, prog="run.py", args=named, return_unknown_args=True)[0]


def peek(arguments: list[str]) -> argparse.Namespace:
    """The options that determine the defaults of all other options."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", default="bricks.py")
    parser.add_argument("--output", "--out", type=Path)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_known_args(arguments)[0]


def steps_in(seconds: float) -> float:
    """The steps of ``lego.py`` that this CPU makes in some seconds, by a test of a fifth of one."""
    rng = np.random.default_rng(0)
    table, entries = rng.random((2**18, 4), np.float32), rng.integers(2**18, size=(8, 2**15))
    weights = rng.random((32, 64), np.float32)

    def read() -> np.ndarray:  # as a field: random entries of a table, and a product of matrices
        return table[entries].swapaxes(0, 1).reshape(-1, 32) @ weights

    # A step of the first thousand takes three times as long: 62 ms where the test took 20.
    return seconds / (3 * min(timeit.repeat(read, number=1, repeat=9)[1:]))
