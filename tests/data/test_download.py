import errno
import http.server
import io
import shutil
import socket
import stat
import sys
import threading
import time
import zipfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nerf_jax.data import download

NOISE = np.random.default_rng(0).bytes(200_000)  # does not shrink


def _archive(prefix="lego/", extra=(), noise=NOISE):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{prefix}transforms_train.json", "{}")
        file.writestr(f"{prefix}train/r_0.png", noise)
        for name, contents in extra:
            file.writestr(name, contents)
    return buffer.getvalue()


class _Server(http.server.ThreadingHTTPServer):
    """Serves one file, in as contrary a way as a test asks for."""

    daemon_threads = True
    contents = _archive()
    etag: str | None = '"one"'
    knows_ranges = True
    heeds_if_range = True
    says_length = True
    cuts = ()
    """For each request in turn, after how many bytes the connection ends; later ones are whole."""
    statuses = ()
    """For each request in turn, an error instead of an answer, or 0."""
    stall_seconds = 0.0
    """Instead of ending where a connection is cut, it goes quiet for so long."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ranges = []  # of each request


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, turn = self.server, len(self.server.ranges)
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if turn < len(server.statuses) and server.statuses[turn]:
            self.send_error(server.statuses[turn])
            return
        same = not server.heeds_if_range or self.headers.get("If-Range") in (None, server.etag)
        total = len(server.contents)
        start = int(asked[6:-1]) if asked and server.knows_ranges and same else 0
        if start >= total:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if server.says_length:
            self.send_header("Content-Length", str(total - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        cut = server.cuts[turn] if turn < len(server.cuts) else None
        self.wfile.write(server.contents[start:] if cut is None else server.contents[start:][:cut])
        if cut is not None:
            time.sleep(server.stall_seconds)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0.001)
    with _Server() as server:
        monkeypatch.setattr(download, "BASE_URL", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _assert_whole(folder):
    """The scene is there, and nothing else is."""
    assert folder.name == "lego"
    assert [path.name for path in folder.parent.iterdir()] == ["lego"]
    assert (folder / "train/r_0.png").read_bytes() == NOISE


@pytest.mark.parametrize("prefix", ["lego/", ""])
def test_a_scene_is_fetched_once(server, tmp_path, prefix, capsys):
    server.contents = _archive(prefix)
    into = tmp_path / "data/nerf_synthetic"
    _assert_whole(download.fetch("lego", into))
    assert stat.S_IMODE((into / "lego").stat().st_mode) == stat.S_IMODE(into.stat().st_mode)
    assert capsys.readouterr().err.count(f"downloading {download.BASE_URL}/lego.zip (0 MB)") == 1
    _assert_whole(download.fetch("lego", into))
    assert server.ranges == [None]


def test_a_terminal_shows_a_bar(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _assert_whole(download.fetch("lego", tmp_path))
    assert "downloading" in capsys.readouterr().err


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cuts = (50_000, 60_000)
    _assert_whole(download.fetch("lego", tmp_path))
    assert server.ranges == [None, "bytes=50000-", "bytes=110000-"]


def test_progress_keeps_patience(server, tmp_path):
    """Many cuts are borne as long as each connection brings something."""
    server.cuts = (10_000,) * 15
    _assert_whole(download.fetch("lego", tmp_path))
    assert len(server.ranges) == 16


def test_a_stalled_connection_is_resumed(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    server.cuts, server.stall_seconds = (50_000,), 1.0
    _assert_whole(download.fetch("lego", tmp_path))
    assert len(server.ranges) == 2


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    server.knows_ranges = False
    server.cuts = (50_000, 20_000)
    _assert_whole(download.fetch("lego", tmp_path))
    assert server.ranges == [None, "bytes=50000-", "bytes=50000-"]


def test_a_server_without_ranges_that_always_cuts_is_given_up(server, tmp_path):
    server.knows_ranges = False
    server.cuts = (50_000,) * 50
    with pytest.raises(OSError, match=r"lego\.zip: the download was interrupted repeatedly"):
        download.fetch("lego", tmp_path)
    assert len(server.ranges) == download.MAX_RETRIES + 2


def test_the_next_call_continues_where_the_last_ended(server, tmp_path):
    server.cuts = (50_000,) + (0,) * download.MAX_RETRIES + (0,)
    with pytest.raises(OSError, match=r"50000 of \d+ bytes.*run again to continue"):
        download.fetch("lego", tmp_path)
    assert not (tmp_path / "lego").exists()
    server.ranges.clear()
    server.cuts = ()
    _assert_whole(download.fetch("lego", tmp_path))
    assert server.ranges == ["bytes=50000-"]


@pytest.mark.parametrize("heeds_if_range", [True, False])
@pytest.mark.parametrize("etag", ['"two"', None])
def test_a_changed_file_is_fetched_afresh(server, tmp_path, heeds_if_range, etag):
    server.heeds_if_range, server.cuts = heeds_if_range, (50_000,) + (0,) * 9
    server.contents, server.etag = _archive(noise=bytes(300_000) + NOISE), etag and '"one"'
    with pytest.raises(OSError, match="run again to continue"):
        download.fetch("lego", tmp_path)
    server.contents, server.etag, server.cuts = _Server.contents, etag, ()
    server.ranges.clear()
    _assert_whole(download.fetch("lego", tmp_path))
    assert server.ranges[0].startswith("bytes=")


def test_a_file_that_became_shorter_is_fetched_afresh(server, tmp_path):
    """The server answers 416: there is nothing from there on."""
    server.heeds_if_range, server.etag = False, None
    server.contents, server.cuts = _archive(noise=NOISE * 2), (390_000,) + (0,) * 9
    with pytest.raises(OSError, match="run again to continue"):
        download.fetch("lego", tmp_path)
    server.contents, server.cuts = _Server.contents, ()
    _assert_whole(download.fetch("lego", tmp_path))


def test_a_complete_download_is_not_asked_for_again(server, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(download, "_unpack", lambda *_: (_ for _ in ()).throw(OSError("crash")))
        with pytest.raises(OSError, match="crash"):
            download.fetch("lego", tmp_path)
    _assert_whole(download.fetch("lego", tmp_path))
    assert server.ranges == [None]


def test_a_length_that_is_not_told_is_not_needed(server, tmp_path):
    server.says_length = False
    _assert_whole(download.fetch("lego", tmp_path))


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = (503, 429)
    _assert_whole(download.fetch("lego", tmp_path))
    assert len(server.ranges) == 3


def test_a_missing_file_is_not_asked_for_again(server, tmp_path):
    server.statuses = (404,) * 9
    with pytest.raises(OSError, match=r"lego\.zip: the server answers 404"):
        download.fetch("lego", tmp_path)
    assert len(server.ranges) == 1


def test_several_at_once_get_the_same_scene(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        for folder in pool.map(lambda _: download.fetch("lego", tmp_path), range(4)):
            assert (folder / "train/r_0.png").read_bytes() == NOISE


def test_a_note_that_another_process_is_writing_is_no_reason_to_stop(server, tmp_path):
    partial = tmp_path / ".lego.zip.partial"
    partial.write_bytes(b"the first bytes")
    (tmp_path / ".lego.zip.partial.version").touch()
    assert (download.fetch("lego", tmp_path) / "train/r_0.png").read_bytes() == NOISE
    assert server.ranges == [None]


def _symlink():
    info = zipfile.ZipInfo("lego/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, "/etc/passwd"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"<html>Sign in to the network</html>", "not a readable zip file"),
        (_archive()[:-30], "not a readable zip file"),
        (_archive().replace(NOISE[100:110], NOISE[100:110][::-1]), "not a readable zip .*CRC"),
        (_archive(prefix="ship/"), r"holds no transforms_train\.json"),
        (_archive(extra=[("/etc/evil", "")]), "'/etc/evil' in it leads outside"),
        (_archive(extra=[("lego/../../evil", "")]), "'lego/../../evil' in it leads outside"),
        (_archive(extra=[("..\\evil", "")]), "evil' in it leads outside"),
        (_archive(extra=[("C:evil", "")]), "'C:evil' in it leads outside"),
        (_archive(extra=[_symlink()]), "'lego/link' in it is a link"),
        (_archive(extra=[("lego/bomb", bytes(2_000_000))]), r"since its 0\.0 GB exceed"),
    ],
)
def test_bad_archives_are_refused_whole(server, tmp_path, monkeypatch, contents, message):
    monkeypatch.setattr(download, "MAX_UNPACKED_BYTES", 1_000_000)
    server.contents = contents
    with pytest.raises(ValueError, match=message):
        download.fetch("lego", tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["into"]


@pytest.mark.parametrize("calls_before_full", [0, 1])
def test_a_full_disk_is_told(server, tmp_path, monkeypatch, calls_before_full):
    free = iter([10**12] * calls_before_full + [1000])
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(next(free)))
    with pytest.raises(OSError, match=r"the disk is full; free some space and run again"):
        download.fetch("lego", tmp_path)
    assert not (tmp_path / "lego").exists()


def test_a_disk_that_fills_up_is_no_interrupted_connection(server, tmp_path, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", fill)
    with pytest.raises(OSError, match=r"the disk is full"):
        download.fetch("lego", tmp_path)
    assert len(server.ranges) == 1


def test_what_is_in_the_way_is_left_alone(server, tmp_path):
    (tmp_path / "lego").mkdir()
    (tmp_path / "lego/notes.txt").write_text("mine")
    with pytest.raises(OSError, match=r"lego: the scene cannot be moved there .* move or remove"):
        download.fetch("lego", tmp_path)
    assert (tmp_path / "lego/notes.txt").read_text() == "mine"


def test_offline_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    start = time.monotonic()
    monkeypatch.setattr(download, "BASE_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(OSError, match=r"lego\.zip: no connection \(.*refused"):
        download.fetch("lego", tmp_path)
    assert time.monotonic() - start < 1


def test_a_server_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(download, "BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(OSError, match=r"lego\.zip: no connection \(.*"):
            download.fetch("lego", tmp_path)


def test_other_names_are_not_downloaded(tmp_path):
    with pytest.raises(ValueError, match=r"no scene 'leggo' .* Did you mean lego"):
        download.fetch("leggo", tmp_path)
