"""Processes that train as one: what they agree on, and how they end together.

They are connected as a star: each has a :class:`Link` to process 0, made by
:mod:`nerf_jax.app.rendezvous` beside JAX's own connections. A collective operation of JAX waits for
a dead process for ever (NCCL), or fails without its name (gloo). Here, a link that closes
without a message means that the process was killed, and :data:`SILENCE_SECONDS` without a message
that its machine is lost: every other process then prints one line that names it, and ends.

A message is a line of JSON: ``{"value": ...}`` to agree on, ``{"end": reason}`` (null at the end of
the run), or ``{}`` as a sign of life.
"""

import contextlib
import json
import os
import queue
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jax

from nerf_jax.app.progress import say_error
from nerf_jax.data.files import atomic_write

T = TypeVar("T")

BEAT_SECONDS = 5.0
SILENCE_SECONDS = 40.0
"""Longer than any work that holds Python's interpreter lock."""

SHARED_SECONDS = 10.0
"""After which a file that another process wrote is not expected to appear any more."""

GRACE_SECONDS = 2.0
"""The death of another process explains the error of a collective, and is known by then."""


class Link:
    """A connection to another process, whose messages one thread reads."""

    def __init__(self, connection: socket.socket) -> None:
        self.name = "another process"
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection, self._lock = connection, threading.Lock()
        self._lines = connection.makefile("r", encoding="utf-8")

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, if the other process is still there: reading tells if it is not."""
        with contextlib.suppress(OSError), self._lock:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout: float) -> dict[str, Any]:
        """The next message.

        Raises:
            TimeoutError: none came in that many seconds.
            EOFError, OSError: the connection was closed.
            ValueError: the other side does not speak this protocol.
        """
        self._connection.settimeout(timeout)
        line = self._lines.readline()
        if not line.endswith("\n"):
            raise EOFError("the connection was closed")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"unexpected message: {line[:80]!r}")
        return message

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._connection.close()


class Group:
    """The processes of one run. As a context, it ends all of them if one leaves it by an error."""

    def __init__(self, index: int = 0, names: Sequence[str] = ("",), links: Sequence[Link] = ()):
        """``links``: of process 0 to all others in their order; of the others to process 0."""
        self.index, self.names, self._links = index, list(names), list(links)
        self.before_exit: Callable[[], object] = lambda: None
        self._ending, self._over = threading.Lock(), threading.Event()
        self._threads = []
        for link, name in zip(links, names[1:] if self.is_first else names[:1], strict=True):
            link.name = name
            self._threads.append(threading.Thread(target=self._read, args=(link,), daemon=True))
        if links:
            self._threads.append(threading.Thread(target=self._beat, daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def is_first(self) -> bool:
        """Whether this is process 0, which writes the run's files."""
        return self.index == 0

    def exchange(self, value: Any) -> list[Any]:
        """The values (JSON) that all processes call this with, by process. Waits for all."""
        if self.is_first:
            values = [value, *(link.inbox.get() for link in self._links)]
            values = json.loads(json.dumps(values)) if self._links else values
        for link in self._links:
            link.send({"value": values if self.is_first else value})
        return values if self.is_first else self._links[0].inbox.get()

    def from_first(self, make: Callable[[], T]) -> T:
        """The value (JSON) that process 0 makes."""
        value: T = self.exchange(make() if self.is_first else None)[0]
        return value

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The share of this process of some items."""
        return items[self.index :: len(self.names)]

    def gather(self, results: Sequence[T]) -> list[T]:
        """The results (JSON) of all items, of each process those of its :meth:`share`."""
        shares = self.exchange(list(results))
        count = sum(map(len, shares))
        return [shares[i % len(shares)][i // len(shares)] for i in range(count)]

    def require_same(self, values: dict[str, Any]) -> None:
        """Require that values (JSON, dictionaries within each other) are equal everywhere.

        Raises:
            ValueError: they are not; the error names a field, the values and the processes.
        """
        first, *others = self.exchange(values)
        for name, other in zip(self.names[1:], others, strict=True):
            for field, (here, there) in _differences(first, other).items():
                raise ValueError(
                    f"{field} is {here!r} in {self.names[0]}, but {there!r} in {name}: start all "
                    "processes with the same options, configs, data and packages"
                )

    def require_shared(self, folder: Path) -> None:
        """Require that all processes see the files that process 0 writes into a folder.

        Raises:
            OSError: one does not, or none can be written; the error names the process.
        """
        if not self._links:
            return
        file, token = folder / ".shared", self.from_first(lambda: uuid.uuid4().hex)
        if self.is_first:
            with atomic_write(file) as aside:
                aside.write_text(token)
        self.exchange("written")
        seen = self.exchange(_appears(file, token))
        if self.is_first:
            file.unlink(missing_ok=True)
        for name, sees in zip(self.names, seen, strict=True):
            if not sees:
                raise OSError(
                    f"{folder}: {name} does not see the files that {self.names[0]} writes there: "
                    "name a folder that all processes share by --output"
                )

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not self._links:
            return
        if error is not None:
            time.sleep(GRACE_SECONDS)
            self.fail(error)
        self.exchange("all is done")
        jax.distributed.shutdown()
        self.close()

    def close(self) -> None:
        """Part from the other processes, which do the same."""
        self._over.set()
        for link in self._links:
            link.send({"end": None})
        for thread in self._threads:
            thread.join(SILENCE_SECONDS)
        for link in self._links:
            link.close()

    def fail(self, error: BaseException) -> NoReturn:
        """End all processes because of an error in this one."""
        expected = SystemExit, KeyboardInterrupt, ValueError, OSError, ImportError, ArithmeticError
        if os.environ.get("NERF_JAX_TRACEBACK") or not isinstance(error, expected):
            traceback.print_exception(error)
        line = one_line_of(error)
        is_printed = isinstance(error, SystemExit)  # a mistake in the command line
        self._end(f"{self.names[self.index]} stopped: {line}", "" if is_printed else line)

    def _read(self, link: Link) -> None:
        """Receive the messages of another process until it ends."""
        try:
            while True:
                message = link.receive(SILENCE_SECONDS)
                if "value" in message:
                    link.inbox.put(message["value"])
                if "end" in message:
                    break
        except TimeoutError:
            message = {"end": f"{link.name} has been silent for {SILENCE_SECONDS:.0f} s"}
        except (EOFError, OSError, ValueError):
            message = {"end": f"{link.name} was killed, or its machine is lost"}
        reason = message["end"]
        if reason is not None:
            remedy = "start all of them again with --resume to continue from the newest checkpoint"
            self._end(reason, f"{reason}. All other processes end too: {remedy}")

    def _end(self, reason: str, line: str) -> NoReturn:
        """End this process at once, as JAX would wait for the others, and those linked to it."""
        self._ending.acquire()  # the first reason is the one that counts
        if line:
            say_error(line)  # before the others say theirs, where all write to one terminal
        for link in self._links:
            link.send({"end": reason})
        sys.stdout.flush()
        self.before_exit()
        os._exit(1)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            for link in self._links:
                link.send({})


ALONE = Group()
"""One process."""


def one_line_of(error: BaseException) -> str:
    """An error as one line."""
    kind = "" if isinstance(error, ValueError | OSError | ImportError) else type(error).__name__
    text = " ".join(str(error).split())
    return ": ".join(filter(None, (kind, text)))


def _appears(file: Path, content: str) -> bool:
    """Whether a file of another process appears; network file systems take their time."""
    deadline = time.monotonic() + SHARED_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if file.read_text() == content:
                return True
        time.sleep(0.1)
    return False


def _differences(first: Any, other: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """The fields whose values differ, by their dotted names."""
    if not (isinstance(first, dict) and isinstance(other, dict)):
        return {name: (first, other)} if first != other else {}
    found: dict[str, tuple[Any, Any]] = {}
    for field in first | other:
        dotted = f"{name}.{field}" if name else field
        found |= _differences(first.get(field), other.get(field), dotted)
    return found
