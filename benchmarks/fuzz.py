"""Mutated inputs of all formats: a scene or one clear line, and never a wrong scene.

    python benchmarks/fuzz.py                  # 10,000 inputs, in about 10 minutes
    python benchmarks/fuzz.py --share 0.02     # a part of them
    python benchmarks/fuzz.py --format LLFF --share 0.1

A file of a valid input is changed, and the input is read by the package, in a process with limited
memory. The reader must return within ``SECONDS``, or raise one of the errors that the command line
prints, with a message of one line that names a file. What it returns is compared with an
independent reader (``fuzz_formats.py``). The inputs of a format depend on the seed alone. The whole
campaign writes ``benchmarks/results/fuzz.json``.
"""

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_formats import FORMATS, Format, Values
from mutations import mutate
from record import write_record

ACCEPTED = (ValueError, OSError, ImportError, FloatingPointError)
"""The errors that ``nerf_jax.app.cli`` prints as a line."""
SECONDS = 20
MEMORY_BYTES = 8 << 30
GOOD = ("read", "refused")


class _Hang(BaseException):
    """Not an ``Exception``, so that no reader catches it."""


def outcomes(form: Format, indices: Iterable[int], seed: int = 0) -> Iterator[tuple[str, str]]:
    """The outcome of each input and its details.

    "read" and "refused" are good; "error", "message", "hang" and "misread" are not.
    """
    with tempfile.TemporaryDirectory() as work:
        valid, root = Path(work) / "valid", Path(work) / "scene"
        valid.mkdir()
        form.write(valid)
        kinds = [sorted(filter(Path.is_file, valid.glob(each))) for each in form.files]
        shutil.copytree(valid, root)
        outcome = _outcome(form, root)
        if outcome[0] != "read":
            raise RuntimeError(f"the valid input: {outcome}")
        for index in indices:
            choose = random.Random(f"{seed} {index}")
            path = choose.choice(choose.choice(kinds))
            changed = mutate(path.read_bytes(), path.suffix, choose)
            shutil.copytree(valid, root, dirs_exist_ok=True)
            (root / path.relative_to(valid)).write_bytes(changed)
            outcome, detail = _outcome(form, root)
            yield outcome, f"{path.relative_to(valid)}: {detail}"


def _outcome(form: Format, root: Path) -> tuple[str, str]:
    def stop(*_: object) -> None:
        raise _Hang

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = form.read(root)
    except ACCEPTED as error:
        message = str(error)
        is_clear = "\n" not in message and len(message) < 1500 and str(root) in message
        return "refused" if is_clear else "message", f"{type(error).__name__}: {message[:1500]}"
    except _Hang:
        return "hang", f"longer than {SECONDS} s"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "error", f"{type(error).__name__}: {error!s:.300} at {where.filename}:{where.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    wrong = _differences(found, form, root)
    return ("misread", ", ".join(wrong)) if wrong else ("read", "")


def _differences(found: Values, form: Format, root: Path) -> list[str]:
    """The names of the values that the independent reader reads otherwise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = form.expect(root)
    except Exception:  # it cannot read the input, which proves nothing
        return []
    common = found.keys() & expected.keys()
    return sorted(
        f"{name} is {found[name]!s:.200}, but should be {expected[name]!s:.200}"
        for name in common
        if not _equal(found[name], expected[name])
    )


def _equal(found: Any, expected: Any) -> bool:
    if isinstance(found, np.ndarray):
        if found.dtype == np.uint8:
            return np.array_equal(found, expected)
        return found.shape == np.shape(expected) and np.allclose(found, expected, 1e-4, 1e-4)
    try:
        return bool(found == expected) or bool(np.isnan(found) and np.isnan(expected))
    except TypeError:
        return False


# ---------------------------------------------------------------------- the campaign


def work(name: str, start: int, stop: int, seed: int) -> None:
    """Print the outcomes of some inputs, each as a line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for outcome in outcomes(FORMATS[name][0], range(start, stop), seed):
        print(json.dumps(outcome), flush=True)


def run(name: str, count: int, seed: int) -> list[tuple[str, str]]:
    """The outcomes of a format's inputs; a process that ends or hangs is started again after."""
    found: list[tuple[str, str]] = []
    while len(found) < count:
        command = [sys.executable, __file__, "--work", name, str(len(found)), str(count)]
        limit = 300 + SECONDS * (count - len(found))  # of a hang that no signal ends
        try:
            ended = subprocess.run(
                [*command, "--seed", str(seed)], capture_output=True, text=True, timeout=limit
            )
            out, code, said = ended.stdout, ended.returncode, ended.stderr
        except subprocess.TimeoutExpired as late:
            out, code, said = (late.stdout or b"").decode(), 0, "no answer"
        found += [tuple(json.loads(line)) for line in out.splitlines() if line.startswith("[")]
        if len(found) < count:
            found.append(("crash" if code else "hang", f"{code}: {said[-500:]}"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", choices=FORMATS, help="only this one")
    parser.add_argument("--share", type=float, default=1.0, help="of all inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.work[0], int(args.work[1]), int(args.work[2]), args.seed)
    rows: list[dict[str, Any]] = []
    for name in [args.format] if args.format else FORMATS:
        began, count = time.monotonic(), max(1, round(args.share * FORMATS[name][1]))
        found = run(name, count, args.seed)
        counts = Counter(outcome for outcome, _ in found)
        seconds = round(time.monotonic() - began, 1)
        rows.append({"format": name, "inputs": count, **dict(counts), "seconds": seconds})
        print(rows[-1], flush=True)
        for index, (outcome, detail) in enumerate(found):
            if outcome not in GOOD:
                print(f"  {index} {outcome}: {detail}", flush=True)
    if not args.format:
        write_record(
            Path(__file__), {"inputs": sum(row["inputs"] for row in rows), "rows": rows}, {}
        )
    return None


if __name__ == "__main__":
    main()
