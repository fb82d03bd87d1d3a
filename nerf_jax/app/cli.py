"""The command line: train, evaluate, compare, render, view, prepare photos, write ray datasets.

Every field of :class:`nerf_jax.config.Config` is an option of its name.
"""

import contextlib
import functools
import io
import logging
import os
import sys
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name

import jax

from nerf_jax.app.backend import allow_fast_atomics
from nerf_jax.app.progress import say, say_error
from nerf_jax.config.serialization import near_miss
from nerf_jax.data.files import cache_folder

USAGE = """\
nerf_jax: neural radiance fields in pure JAX

  run.py [train] [--config lego.py] [--output DIR] [--resume]   train, evaluate, render
  run.py eval RUN [--split val] [--every K]                     scores, pictures, report.html
  run.py compare RUN RUN... [--output PAGE.html]                several runs on one page
  run.py render RUN [--path spiral] [--formats gif]             a video along a path, and stills
  run.py view RUN                                               the scene in the browser
  run.py export RUN [--format glb] [--crop X Y Z X Y Z]         mesh, points, cameras as files
  run.py export RUN --format html                               the scene as one web page
  run.py prepare PHOTOS --output DIR                            a scene from photos or a video
  run.py rays OUT [--config lego.py] [--split train]            a split as a ray dataset

Without a config, the built-in scene. `run.py COMMAND --help` lists every option."""

COMMANDS = {
    "train": "train:train",
    "eval": "evaluate:eval_run",
    "compare": "compare:compare_runs",
    "render": "render:render",
    "view": "view:view",
    "export": "export:export",
    "prepare": "prepare:prepare",
    "rays": "rays:rays",
}
"""The module of each command and its function, imported once it is called."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] in ("-h", "--help", "help"):
        say(USAGE)
        return 0
    command = "train" if not arguments or arguments[0].startswith("-") else arguments.pop(0)
    if command not in COMMANDS:
        known = near_miss(command, COMMANDS)
        say_error(f"no command {command!r}; there are {', '.join(COMMANDS)}.{known}")
        return 2
    _quiet_libraries()
    if note := allow_fast_atomics(os.environ):
        say(note)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be in another encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        run = resolve_name(f"nerf_jax.app.commands.{COMMANDS[command]}")
        return int(run(arguments))
    except KeyboardInterrupt:
        say_error("interrupted")
        return 130
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("NERF_JAX_TRACEBACK"):
            raise
        say_error(str(error))
        return 1


def _quiet_libraries() -> None:
    """Silence libraries whose errors we report in one line; cache compilations for later runs."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of its list of fonts, on a full disk
    warnings.filterwarnings("ignore", module="orbax")
    _quiet_threads()
    # A full disk, or an entry that is not whole: the program is compiled.
    warnings.filterwarnings("ignore", message=r"Error \w+ persistent compilation cache")
    cache = cache_folder() / "xla"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        with contextlib.suppress(OSError):
            _drop_unfinished(cache)


@functools.cache
def _quiet_threads() -> None:
    """Silence the threads of a checkpoint that finds the disk full: its error is raised too."""
    previous = sys.unraisablehook

    def report(problem: "sys.UnraisableHookArgs") -> None:
        if str(problem.exc_value) != "Event loop is closed":
            previous(problem)

    sys.unraisablehook = report


def _drop_unfinished(cache: Path) -> None:
    """Delete entries since the last call that were not written completely: JAX would keep them."""
    checked = cache / ".checked"
    since = checked.stat().st_mtime - 1 if checked.exists() else 0
    for entry in cache.glob("*-cache"):
        if entry.stat().st_mtime >= since:
            content, inflate = entry.read_bytes(), zlib.decompressobj()
            with contextlib.suppress(zlib.error):  # of zstandard, which JAX prefers if it is there
                inflate.decompress(content)
                if not inflate.eof:
                    entry.unlink()
    if cache.is_dir():
        checked.touch()
