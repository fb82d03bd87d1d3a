"""The download of Blender scenes: resumed if interrupted, checked, and unpacked atomically.

A partial archive stays next to its destination, with a note of the version of the file on the
server, so that the next call resumes it.
"""

import contextlib
import errno
import http.client
import importlib.util
import shutil
import stat
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from nerf_jax.config.serialization import near_miss

BASE_URL = "https://huggingface.co/datasets/nerfbaselines/nerfbaselines-data/resolve/main/blender"
SCENES = ("chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship")
TIMEOUT_SECONDS = 15.0  # until the server answers, and between two chunks of the file
BACKOFF_SECONDS = 1.0  # before the first retry; doubled each time
MAX_RETRIES = 4  # in a row without progress
MAX_UNPACKED_BYTES = 4 * 2**30  # scenes have some hundred MB: a larger archive may be an attack
_INTERRUPTED = (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException)


def url(scene: str) -> str:
    """The address of a scene's archive."""
    return f"{BASE_URL}/{scene}.zip"


def fetch(scene: str, into: Path) -> Path:
    """Download and unpack a scene, unless it exists.

    Args:
        scene: one of ``SCENES``.
        into: the folder that will hold the folder ``scene``.

    Returns:
        The scene's folder. It appears only once it is complete.

    Raises:
        ValueError: the scene is unknown, or the archive is damaged or unsafe.
        OSError: there is no connection, no such file on the server, or no space on the disk.
    """
    if scene not in SCENES:
        known = f"{', '.join(SCENES)}.{near_miss(scene, SCENES)}"
        raise ValueError(f"no scene {scene!r} to download; there are {known}")
    target, partial = into / scene, into / f".{scene}.zip.partial"
    if _holds_scene(target):
        return target
    into.mkdir(parents=True, exist_ok=True)
    try:
        _download(url(scene), partial)
        _unpack(partial, target)
    except (OSError, ValueError) as error:
        if not _holds_scene(target):  # otherwise another process was faster
            if isinstance(error, FileNotFoundError) and error.filename == str(partial):
                return fetch(scene, into)  # another process found the archive damaged
            if isinstance(error, ValueError):  # a retry would unpack the same bad archive
                _discard(partial)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(f"{into}: the disk is full; free some space and run again") from error
            raise
    _discard(partial)
    return target


def _holds_scene(folder: Path) -> bool:
    return (folder / "transforms_train.json").is_file()


def _note(partial: Path) -> Path:
    """The file with the version (ETag or date) and total size of a partial download."""
    return partial.with_name(f"{partial.name}.version")


def _discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _note(partial).unlink(missing_ok=True)


def _download(address: str, partial: Path) -> None:
    """Complete ``partial``, with as many connections as it takes."""
    furthest, failures, answered = 0, 0, False
    while True:
        version, total, start = "", "", 0
        with contextlib.suppress(FileNotFoundError):
            # Empty while another process writes it.
            version, _, total = _note(partial).read_text("utf-8").partition("\n")
            start = partial.stat().st_size if total else 0
        if start and str(start) == total:
            return
        failures, furthest = (0, start) if start > furthest else (failures, furthest)
        try:
            with _connect(address, start, version) as response:
                answered = True
                if _receive(response, partial, start, total):
                    return
            received = partial.stat().st_size if partial.is_file() else 0
            reason = f"received {received} of {total} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the file on the server is shorter than the partial one
                _discard(partial)
            elif error.code != 429 and error.code < 500:
                raise OSError(
                    f"{address}: the server answers {error.code} {error.reason}"
                ) from error
            reason = str(error)
        except _INTERRUPTED as error:
            if not answered:  # offline: retries would only delay the message
                raise OSError(f"{address}: no connection ({error})") from error
            reason = str(error)
        if failures == MAX_RETRIES:
            raise OSError(
                f"{address}: the download was interrupted repeatedly ({reason}); the part received "
                "is kept, run again to continue"
            )
        time.sleep(BACKOFF_SECONDS * 2**failures)
        failures += 1


def _connect(address: str, start: int, version: str) -> http.client.HTTPResponse:
    """Request the file from byte ``start`` on if it still has this version, else all of it."""
    headers = {"User-Agent": "nerf_jax"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if start and version:
        headers["If-Range"] = version
    request = urllib.request.Request(address, headers=headers)
    return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)


def _receive(response: http.client.HTTPResponse, partial: Path, start: int, total: str) -> bool:
    """Write the response, which is the rest of the file or all of it; True if it is complete."""
    part = response.headers.get("Content-Range", "")
    if response.status != 206:
        start, total = 0, response.headers.get("Content-Length", "")
        version = response.headers.get("ETag", "")
        if not version or version.startswith("W/"):  # If-Range does not allow weak ETags
            version = response.headers.get("Last-Modified", "")
        _note(partial).write_text(f"{version}\n{total}", "utf-8")
    elif not part.startswith(f"bytes {start}-") or not part.endswith(f"/{total}"):
        _discard(partial)  # another range than requested, or another file
        return False
    size = int(total or 0)
    if total and shutil.disk_usage(partial.parent).free < size - start:
        raise OSError(errno.ENOSPC, f"no space for {total} bytes")
    print(f"downloading {response.url} ({size / 1e6:.0f} MB)", file=sys.stderr)
    # Neither truncated nor appended to: two processes at once write the same bytes.
    partial.touch()
    with partial.open("r+b") as file:
        file.seek(start)
        with _with_bar(response, size - start) as source:
            shutil.copyfileobj(source, file, 2**18)
        complete = not total or file.tell() == size
        if complete:
            file.truncate()  # an earlier version may have been longer
    return complete


def _with_bar(response: http.client.HTTPResponse, size: int) -> AbstractContextManager[BinaryIO]:
    """The response, with a progress bar on terminals if rich is installed."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        return nullcontext(cast(BinaryIO, response))
    from rich.console import Console
    from rich.progress import wrap_file

    return wrap_file(cast(BinaryIO, response), size, console=Console(stderr=True))


def _unpack(archive: Path, target: Path) -> None:
    """Unpack next to ``target`` and rename, so that ``target`` is never incomplete."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as aside:
        unpacked = Path(aside) / "unpacked"
        try:
            with zipfile.ZipFile(archive) as file:
                _require_safe(file, archive)
                file.extractall(unpacked)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise ValueError(f"{archive}: not a readable zip file ({error}); run again") from error
        scene = next(filter(_holds_scene, (unpacked / target.name, unpacked)), None)
        if scene is None:
            raise ValueError(f"{archive}: the archive holds no transforms_train.json")
        try:
            scene.rename(target)
        except OSError as error:
            reason = f"the scene cannot be moved there ({error.strerror})"
            raise OSError(f"{target}: {reason}; move or remove it") from error


def _require_safe(file: zipfile.ZipFile, archive: Path) -> None:
    """Refuse an archive that could write outside its folder, or fill the disk."""
    for info in file.infolist():
        path = PurePosixPath(info.filename)
        link = stat.S_ISLNK(info.external_attr >> 16)
        # On Windows, backslashes and colons lead to other folders.
        if path.is_absolute() or ".." in path.parts or link or set(info.filename) & set("\\:"):
            kind = "is a link" if link else "leads outside the scene's folder"
            raise ValueError(f"{archive}: not unpacked, since {info.filename!r} in it {kind}")
    total = sum(info.file_size for info in file.infolist())
    if total > MAX_UNPACKED_BYTES:
        sizes = f"{total / 1e9:.1f} GB exceed the limit of {MAX_UNPACKED_BYTES / 1e9:.1f} GB"
        raise ValueError(f"{archive}: not unpacked, since its {sizes}")
    if shutil.disk_usage(archive.parent).free < total:
        raise OSError(errno.ENOSPC, f"no space for {total} bytes")
