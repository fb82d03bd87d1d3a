"""Runs that find the disk full: one clear line, nothing half written, and the same end later.

    python benchmarks/full_disk.py             # 20 full disks, 25 minutes; needs root (mount)
    python benchmarks/full_disk.py --times 2

``python run.py`` on the built-in scene, made small, has its folder and its cache on a small file
system in memory. At a moment uniform over the time that it takes uninterrupted, all but a random
rest of it is filled; where the rest is enough for what is still written, the disk does not count as
full. The run must end by itself, with one line of error or none; every file must be whole; and once
there is room, it must resume to the end of an uninterrupted run. Every other run repeats its
evaluation and its files after an end, so that there are old ones to replace. Writes
``benchmarks/results/full_disk.json``.
"""

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interrupted import (
    CONFIG,
    Session,
    Setup,
    differences,
    end,
    end_state,
    files,
    main,
    start,
    uninterrupted,
)

SIZE_BYTES, MOST_FREE_BYTES = 64 << 20, 1 << 20


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system in memory, mounted at a folder.

    Raises:
        PermissionError: only root may mount.
    """
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
    if mounted.returncode:
        raise PermissionError(mounted.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, rest: int) -> Path:
    """Fill a disk but for some bytes; the file that does."""
    path = folder / "filler"
    with path.open("wb") as file:
        size = shutil.disk_usage(folder).free - rest
        if size > 0:
            os.posix_fallocate(file.fileno(), 0, size)
    return path


def full_run(
    setup: Setup, disk: Path, expected: dict[str, Any], moment: float, rest: int
) -> tuple[Session, list[str]]:
    """A session whose disk is filled at a moment, and what it or the next one did wrong."""
    process = start(setup)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    filler = fill(disk, rest)
    full = end(process, timeout=1800)
    found = one_line(full)
    filler.unlink()
    found += damaged(setup.folder, expected)
    resumed = end(start(setup), timeout=1800)
    found += [f"resumed: {line}" for line in resumed.errors]
    if resumed.code:
        return full, [*found, f"resumed: status {resumed.code}"]
    return full, found + differences(end_state(setup.folder), expected)


def campaign(work: Path, times: int, seed: int = 0) -> dict[str, Any]:
    """The figures of a campaign with a number of disks that were really full."""
    choose, began = random.Random(seed), time.monotonic()
    rows: list[Session] = []
    failures: list[str] = []
    with small_disk(work / "disk") as disk:
        setup = Setup(work / "interrupted.py", disk / "run", disk / "cache")
        setup.config.write_text(CONFIG)
        expected, life = uninterrupted(setup)
        for index in range(4 * times):
            if sum(row.code != 0 for row in rows) == times:
                break
            if index % 2 == 0:
                shutil.rmtree(setup.folder)
            if index % 4 == 3:
                shutil.rmtree(setup.cache)
            moment, rest = choose.uniform(0, life), choose.randrange(MOST_FREE_BYTES)
            full, found = full_run(setup, disk, expected, moment, rest)
            failures += [f"{index}, {full.phase}: {line}" for line in found]
            rows.append(full)
            print(index, full.phase, full.code, *full.errors, *found, sep="; ", flush=True)
    return {
        "times": len(rows),
        "ended_with_a_line": sum(row.code == 1 for row in rows),
        "had_room": sum(row.code == 0 for row in rows),
        "full_while": dict(Counter(row.phase for row in rows if row.code).most_common()),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "failures": failures,
    }


def one_line(full: Session) -> list[str]:
    """What a session on a full disk did wrong."""
    lines = full.errors
    right = not lines if full.code == 0 else len(lines) == 1 and lines[0].startswith("error: ")
    return [] if right and full.code in (0, 1) else [f"status {full.code}", *lines]


def damaged(folder: Path, expected: dict[str, Any]) -> list[str]:
    """The files of a run that are not whole: those that exist must be those of the end."""
    try:
        found = files(folder)
    except Exception as error:
        return [f"damaged: {type(error).__name__}: {error}"]
    grows = "metrics.jsonl"
    same = (name for name in found.keys() & expected.keys() if name != grows)
    return [f"damaged: {name}" for name in sorted(same) if found[name] != expected[name]]


if __name__ == "__main__":
    main(__file__, __doc__.splitlines()[0], "times", 20, campaign)
