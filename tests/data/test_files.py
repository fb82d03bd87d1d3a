import errno
import os
import re

import pytest

from nerf_jax.data.files import atomic_write, remove_unfinished


def test_a_name_of_255_bytes_is_written_atomically(tmp_path):
    for name in ("x" * 251 + ".png", "x." + "y" * 253):
        with atomic_write(tmp_path / name) as aside:
            aside.write_text("whole")
            assert aside.suffix == ".png" or ".png" not in name
            assert not (tmp_path / name).exists()
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "could not be written (No space left"),
        (OSError("encoder error -2"), "could not be written (encoder error -2); free some space"),
        (FileNotFoundError(errno.ENOENT, "No such file", "other.png"), "No such file: 'other.png'"),
    ],
)
def test_errors_of_a_full_disk_name_the_file(tmp_path, error, expected):
    path = tmp_path / "a.png"
    path.write_text("old")

    def write() -> None:
        with atomic_write(path) as aside:
            aside.write_text("half")
            raise error

    with pytest.raises(OSError, match=re.escape(expected)) as raised:
        write()
    assert str(path) in str(raised.value) or "other" in expected
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    kept = [tmp_path / "a.png", tmp_path / ".hidden", tmp_path / "in" / ".12-letters.png"]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for name in ("a.png", "in/b", "in/c.json"):
        with atomic_write(tmp_path / name) as aside:
            aside.touch()
            os.link(aside, aside.with_name(f".1{aside.name[1:]}"))
        kept.append(tmp_path / name)
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "absent")
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*kept}
