"""Processes that agree and end together, as threads of one process with sockets between them."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest

from nerf_jax.app import processes, rendezvous
from nerf_jax.app.processes import ALONE, Group, Link
from nerf_jax.app.rendezvous import Rendezvous, join


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


Made = Callable[[int], list[Group]]


@pytest.fixture
def groups() -> Iterator[Made]:
    """A function that makes a number of connected processes."""
    made: list[Group] = []

    def make(count: int) -> list[Group]:
        names = [f"process {index}" for index in range(count)]
        pairs = [connected() for _ in range(count - 1)]
        first = Group(0, names, [Link(near) for near, _ in pairs])
        others = [Group(i, names, [Link(far)]) for i, (_, far) in enumerate(pairs, 1)]
        made.extend([first, *others])
        return [first, *others]

    yield make
    with ThreadPoolExecutor(max(1, len(made))) as executor:
        list(executor.map(Group.close, made))


def in_all(members: list[Group], work: Callable[[Group], Any]) -> list[Any]:
    """The results of a function that all processes call at once; an error as its message."""

    def guarded(group: Group) -> Any:
        try:
            return work(group)
        except (ValueError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(len(members)) as executor:
        return list(executor.map(guarded, members))


# The end of a process is the end of a thread here.
ends = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Exits:
    """The ends of processes, which in a test are threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        self.happened = threading.Semaphore(0)

        def exit_thread(code: int) -> NoReturn:
            self.happened.release()
            raise SystemExit(code)

        monkeypatch.setattr(processes.os, "_exit", exit_thread)
        monkeypatch.setattr(processes, "SILENCE_SECONDS", 2.0)  # a test's groups part by it
        monkeypatch.setattr(processes, "say_error", self.lines.append)

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.happened.acquire(timeout=10)


@pytest.fixture
def exits(monkeypatch) -> Exits:
    return Exits(monkeypatch)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_all_processes_have_the_values_of_all(groups, count):
    found = in_all(groups(count), lambda group: [group.exchange(group.index * k) for k in range(3)])
    assert found == [[[index * k for index in range(count)] for k in range(3)]] * count


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("num_items", [0, 1, 2, 7])
def test_shares_are_gathered_in_order(groups, count, num_items):
    items = range(num_items)

    def squares(group: Group) -> list[int]:
        return group.gather([item**2 for item in group.share(items)])

    assert in_all(groups(count), squares) == [[item**2 for item in items]] * count


def test_values_that_differ_are_named(groups):
    def require(group: Group) -> None:
        group.require_same(
            {"train": {"num_steps": 1 + group.index // 2, "rays": (1, 2)}, "x": None}
        )

    said = in_all(groups(3), require)
    assert len(set(said)) == 1
    assert said[0].startswith("train.num_steps is 1 in process 0, but 2 in process 2: ")
    assert in_all(groups(2), lambda group: group.require_same({"rays": (1, 2)})) == [None, None]


def test_folders_that_are_not_shared_are_named(groups, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "SHARED_SECONDS", 0.3)
    members = groups(3)
    assert in_all(members, lambda group: group.require_shared(tmp_path / "run")) == [None] * 3
    assert list((tmp_path / "run").iterdir()) == []
    said = in_all(members, lambda group: group.require_shared(tmp_path / f"{group.index // 2}"))
    assert all("process 2 does not see the files that process 0 writes" in line for line in said)


def test_one_process_needs_no_other(tmp_path):
    ALONE.require_same({"a": 1})
    ALONE.require_shared(tmp_path / "absent")
    assert ALONE.from_first(lambda: (1, 2)) == (1, 2)
    with pytest.raises(KeyError), ALONE:
        raise KeyError
    assert not (tmp_path / "absent").exists()


@ends
@pytest.mark.parametrize("killed", [0, 1, 2])
def test_a_process_that_is_killed_ends_the_others(exits, groups, killed):
    members = groups(3)
    links, members[killed]._links = members[killed]._links, []  # it tells nobody
    for link in links:
        link._connection.shutdown(socket.SHUT_RDWR)  # as the kernel does
    exits.wait(3)
    members[killed]._links = links
    named = [line for line in exits.lines if f"process {killed} was killed" in line]
    assert len(named) >= 2


@ends
def test_a_process_that_is_silent_ends_the_others(exits, monkeypatch):
    monkeypatch.setattr(processes, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(processes, "SILENCE_SECONDS", 0.5)
    near, far = map(Link, connected())
    group = Group(0, ["process 0", "process 1"], [near])
    assert far.receive(1.0) == {}  # a sign of life; none goes back
    exits.wait(1)
    group.close()
    far.close()
    assert "process 1 has been silent for 0 s" in exits.lines[0]


@ends
def test_an_error_of_one_process_is_told_to_all(exits, groups, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.0)
    with pytest.raises(SystemExit), groups(3)[2]:
        raise OSError("the disk is full")
    exits.wait(3)
    assert exits.lines[0] == "the disk is full"
    assert sum("process 2 stopped: the disk is full" in line for line in exits.lines) == 2


# Finding each other


def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def options(**changes: Any) -> Rendezvous:
    given = {"coordinator": "127.0.0.1:1", "num_processes": 2, "process_id": 1}
    return Rendezvous(**(given | {"join_seconds": 0.5} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_processes": None}, "found no Slurm, .* name all of --coordinator"),
        ({"coordinator": None}, "found no Slurm"),
        ({"process_id": 2}, "--process-id is 2, but must be at least 0 and below 2"),
        ({"process_id": -1}, "--process-id is -1"),
        ({"coordinator": "localhost"}, "--coordinator is 'localhost': expected HOST:PORT"),
        ({"coordinator": "localhost:99999"}, "expected HOST:PORT"),
        ({"coordinator": ":1234"}, "expected HOST:PORT"),
        ({"coordinator": "no.such.host.invalid:1"}, "no coordinator at no.such.host.invalid:1"),
        ({}, "no coordinator at 127.0.0.1:1 .*refused"),
    ],
)
def test_options_that_lead_nowhere(changes, message):
    with pytest.raises((ValueError, OSError), match=message):
        join(options(**changes))


def test_one_process_joins_nobody():
    assert join(Rendezvous()) is ALONE
    assert join(options(num_processes=1, process_id=0)) is ALONE


@pytest.mark.parametrize("process_id", [0, 1])
def test_a_port_of_another_program(process_id, monkeypatch):
    monkeypatch.setattr(rendezvous, "SILENCE_SECONDS", 0.2)
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        message = "in use by another program" if process_id == 0 else "is it another program"
        with pytest.raises(OSError, match=message):
            join(options(coordinator=address, process_id=process_id))


def met(*members: Rendezvous) -> list[Any]:
    """What processes find that look for each other: names and port, or an error."""

    def meet(one: Rendezvous) -> Any:
        place = rendezvous._find_place(one)
        try:
            found = rendezvous._gather(place) if place.index == 0 else rendezvous._attend(place)
            for link in found[1]:
                link.close()
            return found[0], found[2]
        except (ValueError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(len(members)) as executor:
        return list(executor.map(meet, members))


def test_processes_find_each_other_in_any_order_among_strangers():
    address = f"127.0.0.1:{port()}"

    def stranger() -> None:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", int(address.split(":")[1]))) as one:
                    one.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return
            except OSError:
                pass

    thread = threading.Thread(target=stranger)
    thread.start()
    one = {"coordinator": address, "num_processes": 3, "join_seconds": 10.0}
    found = met(*(options(**one, process_id=index) for index in (2, 0, 1)))
    thread.join()
    assert found[0] == found[1] == found[2]
    names, jax_port = found[0]
    assert [name.split(" (")[0] for name in names] == [f"process {i} of 3" for i in range(3)]
    assert jax_port != int(address.split(":")[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{}, {"num_processes": 3}], "--num-processes is 2 in process 0 .*, but 3 in process 1"),
        ([{"num_processes": 3}] * 2, "did not connect to 127.0.0.1:[0-9]* in time: 2; start them"),
        (
            [{"num_processes": 3}, {"num_processes": 3}, {"num_processes": 3, "process_id": 1}],
            "--process-id is 1 in both process 1 .* and process 1",
        ),
    ],
)
def test_processes_that_contradict_each_other(changes, message):
    address, shared = f"127.0.0.1:{port()}", {"join_seconds": 1.0}
    members = [
        options(coordinator=address, **({"process_id": index} | shared | each))
        for index, each in enumerate(changes)
    ]
    for said in met(*members):
        assert re.search(message, said), said
