"""The Blender scenes, fetched on demand: resumed if cut, checked, and never left half written.

What has arrived is kept beside its destination, with a note of which version of the file it
belongs to, so that the next call continues there even after the program ended.
"""

import contextlib
import errno
import hashlib
import http.client
import importlib.util
import re
import shutil
import stat
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from nerf_jax.config.serialization import near_miss
from nerf_jax.data.blender import transforms_path

BASE_URL = "https://huggingface.co/datasets/nerfbaselines/nerfbaselines-data/resolve/main/blender"
SCENES = ("chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship")

TIMEOUT_SECONDS = 15.0  # until the server answers, and between two pieces of the file
BACKOFF_SECONDS = 1.0  # before the first retry; doubled each time
MAX_RETRIES = 4  # in a row without getting any further
MAX_UNPACKED_BYTES = 4 * 2**30  # a scene has some hundred MB: more is no scene, or meant to harm
_CHUNK_BYTES = 2**18


class _Version(NamedTuple):
    """Which version of the file on the server a partial download belongs to."""

    validator: str
    """Its ETag, else its date, as the server wrote them; else empty."""
    total: int | None
    """Its bytes, where the server said."""


_UNKNOWN = _Version("", None)


class _InterruptedDownload(Exception):
    """The file did not arrive whole, but another attempt may bring more of it."""


def url(scene: str, base_url: str | None = None) -> str:
    """The address of a scene's archive."""
    return f"{base_url or BASE_URL}/{scene}.zip"


def fetch(
    scene: str, into: Path, *, base_url: str | None = None, sha256: str | None = None
) -> Path:
    """Download and unpack a scene, unless it is there.

    Args:
        scene: one of ``SCENES``.
        into: the folder that will hold the folder ``scene``.
        base_url: where the archives are, without a slash at the end; ``BASE_URL`` if None.
        sha256: of the archive, in hexadecimal, where known.

    Returns:
        The scene's folder. It appears only once it is complete.

    Raises:
        ValueError: no such scene, or the archive is damaged, unsafe, or not the one expected.
        OSError: no connection, no such file on the server, or no room on the disk.
    """
    if scene not in SCENES:
        raise ValueError(
            f"no scene {scene!r} to download; there are {', '.join(SCENES)}."
            + near_miss(scene, SCENES)
        )
    target, partial = into / scene, into / f".{scene}.zip.partial"
    if _holds_scene(target):
        return target
    try:
        _download(url(scene, base_url), partial)
        _check_sha256(partial, sha256)
        _unpack(partial, target)
    except (OSError, ValueError) as error:
        done = _holds_scene(target)  # another process was faster
        if done or isinstance(error, ValueError):  # what is wrong with an archive stays wrong
            _discard(partial)
        if done:
            return target
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(f"{into}: the disk is full; make room, and run again") from error
        raise
    _discard(partial)
    return target


def _holds_scene(folder: Path) -> bool:
    return transforms_path(folder, "train").is_file()


def _discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _note(partial).unlink(missing_ok=True)


def _note(partial: Path) -> Path:
    """Where the :class:`_Version` of a partial download is kept."""
    return partial.with_name(f"{partial.name}.version")


def _progress_so_far(partial: Path) -> tuple[int, _Version]:
    """The bytes that have arrived, 0 if it is unknown of what, and the version they are of."""
    try:
        validator, total = _note(partial).read_text("utf-8").split("\n")
        return partial.stat().st_size, _Version(validator, int(total) if total else None)
    except (FileNotFoundError, ValueError):
        return 0, _UNKNOWN


def _download(address: str, partial: Path) -> None:
    """Bring ``partial`` to completion, with as many connections as it takes."""
    furthest, failures, answered = 0, 0, False
    while True:
        start, version = _progress_so_far(partial)
        if start and start == version.total:
            return
        failures = 0 if start > furthest else failures
        furthest = max(furthest, start)
        try:
            with _connect(address, start, version) as response:
                answered = True
                _receive(response, address, partial, start, version)
                return
        except _InterruptedDownload as error:
            reason: Exception = error
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # what we have does not fit the file there
                _discard(partial)
            elif error.code != 429 and error.code < 500:
                raise OSError(
                    f"{address}: the server answers {error.code} {error.reason}"
                ) from error
            reason = error
        except urllib.error.URLError as error:
            if not answered:  # offline: say so now, rather than after several attempts
                raise OSError(f"{address}: no connection ({error.reason})") from error
            reason = error
        if failures == MAX_RETRIES:
            raise OSError(
                f"{address}: the download was interrupted again and again ({reason}); what has "
                "arrived is kept, run again to continue"
            ) from reason
        time.sleep(BACKOFF_SECONDS * 2**failures)
        failures += 1


def _connect(address: str, start: int, version: _Version) -> http.client.HTTPResponse:
    """Ask for the file from byte ``start`` on, if it is still this version, else all of it.

    The time limit of a socket holds for each of a host's addresses, and not for looking them
    up, so the limit on all of it is kept by waiting for a thread.
    """
    headers = {"User-Agent": "nerf_jax"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if version.validator:
            headers["If-Range"] = version.validator
    request = urllib.request.Request(address, headers=headers)
    answer: Future[http.client.HTTPResponse] = Future()

    def ask() -> None:
        try:
            answer.set_result(urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(timeout=TIMEOUT_SECONDS)
    except urllib.error.URLError:
        raise
    except (OSError, http.client.HTTPException) as error:  # a TimeoutError is an OSError
        reason = str(error) or f"no answer within {TIMEOUT_SECONDS:g} s"
        raise urllib.error.URLError(reason) from error


def _receive(
    response: http.client.HTTPResponse, address: str, partial: Path, start: int, expected: _Version
) -> None:
    """Write into ``partial`` what the server sends: the rest of the file, or all of it again."""
    start, total = _place(response, partial, start, expected)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if total is not None and shutil.disk_usage(partial.parent).free < total - start:
        raise OSError(errno.ENOSPC, f"no room for {total - start} bytes")
    if not start:
        version = _version(response)
        if _progress_so_far(partial)[1] not in (version, _UNKNOWN):
            _discard(partial)
        _note(partial).write_text(f"{version.validator}\n{version.total or ''}", "utf-8")
    # Neither emptied nor appended to: if two processes download at once, they write the same
    # bytes to the same places, and whoever is first unpacks them.
    partial.touch()
    with partial.open("r+b") as file:
        file.seek(start)
        with _report(address, start, total) as advance:
            while chunk := _read(response):
                file.write(chunk)
                advance(len(chunk))
        size = file.tell()
        if total in (None, size):
            file.truncate()  # an earlier version may have been longer
    if total is not None and size != total:
        raise _InterruptedDownload(f"the connection ended after {size} of {total} bytes")


def _place(
    response: http.client.HTTPResponse, partial: Path, start: int, expected: _Version
) -> tuple[int, int | None]:
    """Where in the file the answer begins, and the file's bytes, where they are known."""
    total = _version(response).total
    if response.status != 206:
        return 0, total
    if None not in (total, expected.total) and total != expected.total:
        _discard(partial)
        raise _InterruptedDownload("the file on the server has changed")
    if f"bytes {start}-" not in response.headers.get("Content-Range", ""):
        _discard(partial)
        raise _InterruptedDownload("the server sent another part than the one asked for")
    return start, expected.total if total is None else total


def _version(response: http.client.HTTPResponse) -> _Version:
    etag = response.headers.get("ETag", "")
    weak = not etag or etag.startswith("W/")  # weak ones may not be used to continue
    validator = response.headers.get("Last-Modified", "") if weak else etag
    if response.status == 206:
        size = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        return _Version(validator, int(size.group(1)) if size else None)
    length = response.headers.get("Content-Length", "")
    return _Version(validator, int(length) if length.isdecimal() else None)


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedDownload(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _report(address: str, start: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the number of bytes that arrived: a bar if somebody watches."""
    if sys.stderr.isatty() and importlib.util.find_spec("rich"):
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("downloading", total=total, completed=start)
            yield lambda count: progress.advance(bar, count)
        return
    size = "" if total is None else f" ({total / 1e6:.0f} MB)"
    begun = f", from {start / 1e6:.0f} MB on" if start else ""
    print(f"downloading {address}{size}{begun}", file=sys.stderr)
    yield lambda count: None


def _check_sha256(archive: Path, expected: str | None) -> None:
    if expected is None:
        return
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise ValueError(
            f"{archive}: the download has SHA-256 {found}, but {expected} is expected; run again, "
            "and if it stays so, the file on the server is another"
        )


def _unpack(archive: Path, target: Path) -> None:
    """Unpack beside ``target`` and rename, so that ``target`` is whole from the start."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as aside:
        unpacked = Path(aside) / "unpacked"
        try:
            with zipfile.ZipFile(archive) as file:
                _require_safe(file, archive)
                file.extractall(unpacked)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise ValueError(
                f"{archive}: the download is no readable zip archive ({error}); run again to "
                "fetch it afresh"
            ) from error
        found = next(filter(_holds_scene, (unpacked / target.name, unpacked)), None)
        if found is None:
            raise ValueError(f"{archive}: the archive holds no transforms_train.json")
        try:
            found.rename(target)
        except OSError as error:
            raise OSError(
                f"{target}: cannot be put there ({error.strerror}); if a file or folder without a "
                "scene is in the way, move it"
            ) from error


def _require_safe(file: zipfile.ZipFile, archive: Path) -> None:
    """Refuse what could write outside of its folder, or fill the disk."""
    total = 0
    for info in file.infolist():
        path = PurePosixPath(info.filename)
        link = stat.S_ISLNK(info.external_attr >> 16)
        # Backslashes and colons are what leads elsewhere on Windows.
        if path.is_absolute() or ".." in path.parts or link or set(info.filename) & set("\\:"):
            kind = "is a link" if link else "leads outside of the scene's folder"
            raise ValueError(f"{archive}: not unpacked, since {info.filename!r} in it {kind}")
        total += info.file_size
    if total > MAX_UNPACKED_BYTES:
        raise ValueError(
            f"{archive}: not unpacked, since it would take {total / 1e9:.1f} GB; a scene has "
            f"less than {MAX_UNPACKED_BYTES / 1e9:.1f} GB"
        )
    if shutil.disk_usage(archive.parent).free < total:
        raise OSError(errno.ENOSPC, f"no room for {total} bytes")
