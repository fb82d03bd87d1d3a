"""Two processes that train as one: compared to one process, and killed.

    python benchmarks/processes.py               # 20 kills, in about 10 minutes
    python benchmarks/processes.py --kills 3

The short run of ``interrupted.py`` is trained for 200 steps by two processes on loopback with a
device each, and by one process with two devices; the arrays of their checkpoints are compared. Then
one of two processes is killed by SIGKILL at a moment uniform over the time that the run takes: the
other must end by itself within a minute and name it, unless all its own work is done, and both are
started again. A run that was killed up to five times must end as an uninterrupted one. Writes
``benchmarks/results/processes.json``.
"""

import random
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

from interrupted import CONFIG, Session, Setup, differences, end, end_state, main, start

from nerf_jax.app.runs import Run

_KILLS_A_RUN = 5
_SECONDS_TO_END = 60.0
_STEPS = 200


class Killed(NamedTuple):
    """Two processes, of which one was killed."""

    victim: int
    phase: str
    """The last work of process 0."""
    seconds: float
    """Until the other one had ended."""
    problems: list[str]


def start_two(setup: Setup, *index_of: str) -> list[Popen[str]]:
    """Start two processes of a run, which resume it if there is anything to resume.

    Args:
        setup: what they share.
        index_of: options whose value is the index of the process.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--num-processes", "2", "--coordinator", address, "--join-seconds", "45"]
    names = ["--process-id", *index_of]
    return [
        start(setup, *options, *(word for name in names for word in (name, str(index))))
        for index in range(2)
    ]


def end_two(processes: list[Popen[str]], timeout: float) -> list[Session]:
    """Wait for the end of both."""
    with ThreadPoolExecutor(2) as executor:
        return list(executor.map(lambda process: end(process, timeout), processes))


def kill_one(setup: Setup, victim: int, is_time: Callable[[], bool]) -> Killed | None:
    """Start two processes and kill one once it is time; None if both had ended."""
    step = Run(setup.folder).checkpoints.latest()
    processes = start_two(setup)
    with ThreadPoolExecutor(2) as executor:
        ends = [executor.submit(end, process, 1800) for process in processes]
        while not is_time() and not any(each.done() for each in ends):
            time.sleep(0.01)
        if processes[victim].poll() is not None:
            return None
        processes[victim].kill()
        killed_at, other = time.monotonic(), ends[1 - victim]
        while not other.done() and time.monotonic() < killed_at + _SECONDS_TO_END:
            time.sleep(0.01)
        took, in_time = time.monotonic() - killed_at, other.done()
        had_finished = processes[1 - victim].poll() == 0
        processes[1 - victim].kill()
        sessions = [each.result() for each in ends]
    errors = sessions[1 - victim].errors
    problems = [] if in_time else [f"process {1 - victim} had to be killed"]
    named = len(errors) == 1 and _names(errors[0], victim)
    if not named and (errors or not had_finished):
        problems.append(f"process {victim} was killed, and the other said {errors}")
    resumed = [line for line in sessions[0].lines if "resumed at step" in line]
    if resumed and not resumed[0].endswith(f"at step {step}"):
        problems.append(f"{resumed[0]}, but the newest checkpoint was {step}")
    return Killed(victim, sessions[0].phase, took, problems)


def _names(line: str, victim: int) -> bool:
    """Whether a line names the process that was killed, maybe before it had connected."""
    absent = ["no coordinator at", "as process 0"] if victim == 0 else [f"in time: {victim};"]
    return any(text in line for text in (f"process {victim} of 2", *absent))


def compare_to_one_process(work: Path) -> dict[str, Any]:
    """The arrays that differ after 200 steps, and by how much, relative to the largest value."""
    config = work / "long.py"
    steps = f"num_steps={_STEPS}, max_seconds=None"
    config.write_text(CONFIG.replace("num_steps=60, max_seconds=None", steps))
    setups = [Setup(config, work / name, work / "cache") for name in ("two", "one")]
    sessions = [*end_two(start_two(setups[0]), 1800), end(start(setups[1], devices=2), 1800)]
    failed = [line for session in sessions for line in session.errors]
    if failed:
        raise RuntimeError("\n".join(failed))
    two, one = (end_state(setup.folder) for setup in setups)
    arrays = [name for name in one if name.startswith("[")]
    return {
        "steps": _STEPS,
        "arrays": len(arrays),
        "arrays_that_differ": [name for name in arrays if one[name] != two[name]],
        "files_that_differ": [name for name in differences(two, one) if name not in arrays],
    }


def campaign(work: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """The figures of the comparison and of a number of kills."""
    choose, began = random.Random(seed), time.monotonic()
    same = compare_to_one_process(work)
    print(same, flush=True)
    setup = Setup(work / "interrupted.py", work / "run", work / "cache")
    setup.config.write_text(CONFIG)
    for _ in range(2):  # the second time with warm caches
        shutil.rmtree(setup.folder, ignore_errors=True)
        started = time.monotonic()
        end_two(start_two(setup), 1800)
        life = time.monotonic() - started
    expected = end_state(setup.folder)
    found: list[Killed] = []
    failures = [f"{name} differs from that of one process" for name in same["arrays_that_differ"]]
    while len(found) < kills:
        shutil.rmtree(setup.folder, ignore_errors=True)
        for _ in range(min(_KILLS_A_RUN, kills - len(found))):
            moment = time.monotonic() + choose.uniform(0, life)
            killed = kill_one(setup, choose.randrange(2), lambda at=moment: time.monotonic() >= at)
            found += [killed] if killed else []
            failures += killed.problems if killed else []
            print(killed, flush=True)
        sessions = end_two(start_two(setup), 1800)
        failures += [line for session in sessions for line in session.errors]
        failures += [f"{name} differs" for name in differences(end_state(setup.folder), expected)]
    return {
        "compared_to_one_process": same,
        "kills": len(found),
        "killed_process": dict(Counter(killed.victim for killed in found)),
        "killed_while": dict(Counter(killed.phase for killed in found).most_common()),
        "seconds_until_the_other_ended": sorted(round(killed.seconds, 1) for killed in found),
        "seconds_uninterrupted": round(life, 1),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "failures": failures,
    }


if __name__ == "__main__":
    main(__file__, __doc__.splitlines()[0], "kills", 20, campaign)
