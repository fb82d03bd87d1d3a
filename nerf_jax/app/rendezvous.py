"""How the processes of a run find each other: by hand, or through what started them.

Process 0 listens at the coordinator's address; the others connect to it, and these connections
remain (:mod:`nerf_jax.app.processes`). Once all are there, JAX connects them too
(:func:`jax.distributed.initialize`), at a port that process 0 finds free. JAX alone would end a
process with a stack trace of C++ if the coordinator or another process did not come.
"""

import contextlib
import errno
import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
from jax._src.clusters import ClusterEnv

from nerf_jax.app.processes import ALONE, SILENCE_SECONDS, Group, Link, one_line_of

_HELLO_SECONDS = 5.0
"""Until a program that connects must have said which process it is."""


@dataclass(frozen=True)
class Rendezvous:
    """Where and how long the processes of a run look for each other."""

    distributed: bool = False
    """One of several processes that train as one, as started by Slurm, Kubernetes, Open MPI or on a
    TPU pod; by hand, name the three options below."""
    coordinator: str | None = None
    """HOST:PORT of process 0, as all processes reach it."""
    num_processes: int | None = None
    """The number of processes."""
    process_id: int | None = None
    """The index of this one, from 0."""
    join_seconds: float = 300.0
    """How long to wait for the other processes to start."""

    @property
    def is_asked_for(self) -> bool:
        """Whether any option asks for several processes."""
        return self.distributed or any(
            option is not None for option in (self.coordinator, self.num_processes, self.process_id)
        )


@dataclass(frozen=True)
class _Place:
    """The place of this process among all."""

    host: str
    port: int
    count: int
    index: int
    device_ids: Sequence[int] | None
    """Of this machine, that are this process's; None: all."""
    deadline: float

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        return f"process {self.index} of {self.count} ({socket.gethostname()}, pid {os.getpid()})"

    def seconds_left(self) -> float:
        return max(0.1, self.deadline - time.monotonic())


def join(options: Rendezvous) -> Group:
    """Connect this process to the others of its run, before JAX's first computation.

    What any but the first one prints to standard output goes nowhere.

    Raises:
        ValueError: the options are not complete, or contradict those of another process.
        OSError: the port is in use, or a process did not come in time.
    """
    if not options.is_asked_for:
        return ALONE
    place = _find_place(options)
    if place.count == 1:
        return ALONE
    names, links, port = _gather(place) if place.index == 0 else _attend(place)
    group = Group(place.index, names, links)
    group.before_exit = _hold_library_errors()
    if not group.is_first:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, for as long as the process lives
    try:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM
        jax.distributed.initialize(
            *(f"{place.host}:{port}", place.count, place.index, place.device_ids),
            cluster_detection_method="deactivate",
            initialization_timeout=round(SILENCE_SECONDS),
        )
    except RuntimeError as error:
        group.fail(OSError(f"JAX could not connect the processes: {one_line_of(error)}"))
    return group


_RELAY = """
import os, select
held = data = b""
while b"\\0" not in data:
    if not select.select([0], [], [], 1.0 if held else None)[0]:
        held = held[os.write(2, held):]
    elif data := os.read(0, 2**16):
        held += data
    else:
        os.write(2, held)
        break
"""
"""Passes on what comes, after a silence of a second; a zero byte ends it, and drops the rest."""


def _hold_library_errors() -> Callable[[], object]:
    """Hold back for a second what libraries write to standard error.

    JAX's runtime logs pages when process 0 dies. In a process of its own, as they may abort this.

    Returns:
        A function that drops what is held back, for good.
    """
    command = [sys.executable, "-S", "-c", _RELAY]
    relay = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert relay.stdin is not None
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(relay.stdin.fileno(), 2)
    relay.stdin.close()
    return functools.partial(os.write, 2, b"\0")


def _find_place(options: Rendezvous) -> _Place:
    """The place by the options, completed by what started the process."""
    deadline = time.monotonic() + options.join_seconds
    try:
        given = options.coordinator, options.num_processes, options.process_id, None, None
        found = ClusterEnv.auto_detect_unset_distributed_params(*given, round(options.join_seconds))
    except Exception as error:  # such as a package for Kubernetes that is missing
        raise ValueError(f"the cluster could not be asked: {one_line_of(error)}") from error
    address, count, index, device_ids = found
    if address is None or count is None or index is None:
        raise ValueError(
            "found no Slurm, Kubernetes, Open MPI or TPU pod that started this process: name all "
            "of --coordinator HOST:PORT --num-processes N --process-id I"
        )
    if not 0 <= index < count:
        raise ValueError(f"--process-id is {index}, but must be at least 0 and below {count}")
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"--coordinator is {address!r}: expected HOST:PORT, such as node1:29400")
    return _Place(host, int(port), count, index, device_ids, deadline)


def _gather(place: _Place) -> tuple[list[str], list[Link], int]:
    """As process 0: the names of all processes, the links to the others, and a port for JAX."""
    links: dict[int, Link] = {}
    names = {0: place.name}
    try:
        with _listen(place.port) as listener:
            while len(links) < place.count - 1:
                listener.settimeout(place.seconds_left())
                _admit(place, Link(listener.accept()[0]), links, names)
    except (TimeoutError, ValueError) as error:
        if isinstance(error, TimeoutError):
            absent = ", ".join(str(i) for i in range(place.count) if i not in names)
            error = TimeoutError(
                f"of {place.count} processes, these did not connect to {place.address} in time: "
                f"{absent}; start them with --coordinator {place.address}, or raise --join-seconds"
            )
        for link in links.values():
            link.send({"end": f"{place.name} stopped: {error}"})
            link.close()
        raise error from None
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    ordered = [names[index] for index in range(place.count)]
    for link in links.values():
        link.send({"names": ordered, "port": port})
    return ordered, [links[index] for index in range(1, place.count)], port


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("", port), backlog=1024)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        reason = "in use by another program" if in_use else f"not to be had ({error.strerror})"
        raise OSError(
            f"port {port} of {socket.gethostname()} is {reason}: name another one in --coordinator"
        ) from error


def _admit(place: _Place, link: Link, links: dict[int, Link], names: dict[int, str]) -> None:
    """Add a process that has connected; a program that is none of the run's is ignored.

    Raises:
        ValueError: it contradicts the other processes.
    """
    try:
        hello = link.receive(_HELLO_SECONDS)
        index, count, name = int(hello["index"]), int(hello["count"]), str(hello["name"])
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        link.close()
        return
    problem = ""
    if count != place.count:
        problem = f"--num-processes is {place.count} in {place.name}, but {count} in {name}"
    elif index in names:
        problem = f"--process-id is {index} in both {names[index]} and {name}"
    if problem:
        link.send({"end": f"{place.name} stopped: {problem}"})
        link.close()
        raise ValueError(problem)
    names[index], links[index] = name, link


def _attend(place: _Place) -> tuple[list[str], list[Link], int]:
    """As another process: the names of all, the link to process 0, and the port for JAX."""
    link = Link(_connect(place))
    link.send({"index": place.index, "count": place.count, "name": place.name})
    with contextlib.ExitStack() as on_error:
        on_error.callback(link.close)
        names, port = _welcome(place, link)
        on_error.pop_all()
    return names, [link], port


def _welcome(place: _Place, link: Link) -> tuple[list[str], int]:
    """The answer of process 0: the names of all processes and the port for JAX."""
    try:
        # Process 0 waits as long for the others, from its own start on.
        answer = link.receive(place.seconds_left() + SILENCE_SECONDS)
        if "end" not in answer:
            return list(map(str, answer["names"])), int(answer["port"])
    except TimeoutError as error:
        raise TimeoutError(
            f"the coordinator at {place.address} did not answer in time: is it another program?"
        ) from error
    except (EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise ConnectionError(
            f"{place.address} does not answer as process 0 of this run does: is it another "
            "program, or was process 0 ended?"
        ) from error
    raise ConnectionError(str(answer["end"]))


def _connect(place: _Place) -> socket.socket:
    """A connection to process 0, which may start later than this one."""
    while True:
        try:
            host = place.host.strip("[]")
            return socket.create_connection((host, place.port), place.seconds_left())
        except OSError as error:
            if time.monotonic() >= place.deadline:
                raise ConnectionError(
                    f"no coordinator at {place.address} ({error.strerror or error}): start process "
                    "0 there, or name its address by --coordinator"
                ) from error
        time.sleep(0.2)
