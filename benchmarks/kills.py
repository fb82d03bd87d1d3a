"""Runs killed at random moments and resumed: the end is that of an uninterrupted run, bit for bit.

    python benchmarks/kills.py                 # 100 kills, in about 40 minutes
    python benchmarks/kills.py --kills 5

``python run.py`` on the built-in scene, made small, is killed by SIGKILL at moments uniform over
the time that it takes uninterrupted, from the start of Python to the last file, and resumed until
it ends. Then the arrays of the checkpoint, the scores, the metrics, the images, the video and the
names of all files are compared. Every fourth run starts without a dataset cache, so that it is
killed while it makes it. Writes ``benchmarks/results/kills.json``.
"""

import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from interrupted import (
    CONFIG,
    Session,
    Setup,
    differences,
    end,
    end_state,
    main,
    start,
    uninterrupted,
)

_KILLS_A_RUN = 8
"""At most: a run without caches would else be killed while it compiles, again and again."""


def killed_run(setup: Setup, life: float, choose: random.Random, most: int) -> list[Session]:
    """Sessions of a new run, killed up to ``most`` times; the last ended by itself."""
    shutil.rmtree(setup.folder, ignore_errors=True)
    sessions = [end(start(setup), choose.uniform(0, life))]
    while sessions[-1].code == -signal.SIGKILL:
        timeout = choose.uniform(0, life) if len(sessions) < most else 1800
        sessions.append(end(start(setup), timeout))
    return sessions


def problems(sessions: list[Session], folder: Path, expected: dict[str, Any]) -> list[str]:
    """What an interrupted run did other than an uninterrupted one."""
    errors = [line for session in sessions for line in session.errors]
    if sessions[-1].code:
        return [f"ended with {sessions[-1].code}", *errors]
    return [*errors, *differences(end_state(folder), expected)]


def campaign(work: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """The figures of a campaign with a number of kills."""
    choose, began = random.Random(seed), time.monotonic()
    setup = Setup(work / "interrupted.py", work / "run", work / "cache")
    setup.config.write_text(CONFIG)
    expected, life = uninterrupted(setup)
    phases: Counter[str] = Counter()
    failures: list[str] = []
    runs = done = 0
    while done < kills:
        if runs % 4 == 3:
            shutil.rmtree(setup.cache)
        sessions = killed_run(setup, life, choose, min(_KILLS_A_RUN, kills - done))
        runs, done = runs + 1, done + len(sessions) - 1
        phases.update(session.phase for session in sessions[:-1])
        found = problems(sessions, setup.folder, expected)
        failures += [f"run {runs}: {problem}" for problem in found]
        print(f"{done} kills, {runs} runs, {len(failures)} failures", flush=True)
    return {
        "kills": done,
        "runs": runs,
        "seconds_uninterrupted": round(life, 1),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "killed_while": dict(phases.most_common()),
        "failures": failures,
    }


if __name__ == "__main__":
    main(__file__, __doc__.splitlines()[0], "kills", 100, campaign)
