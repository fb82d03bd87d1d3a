"""Photo files on disk: found by the names that datasets have for them, and listed in natural order.

Names come from other machines and programs. A file is found if its path has backslashes; if the
suffix is absent, another image's, or the name in another case; and if the folders above are those
of another machine. ``images_4`` holds the photos of ``images`` at a quarter of their size.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from nerf_jax.data.images import HEIF_SUFFIXES, SUFFIXES, is_readable

IMAGE_FOLDER = "images"

_INVERTED_MASK = "dynamic_mask_"  # instant-ngp's, beside the photo
_MASK_FOLDERS = ("masks", "mask")
_ALL_SUFFIXES = SUFFIXES + HEIF_SUFFIXES
_RAW_SUFFIXES = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2")
_REMEDIES = {
    **dict.fromkeys(HEIF_SUFFIXES, "pip install 'nerf_jax[heic]' reads them"),
    **dict.fromkeys(_RAW_SUFFIXES, "raw photos are not read, export them as JPEG"),
    **dict.fromkeys((".mp4", ".mov", ".m4v"), "prepare takes one video in place of the folder"),
}


def natural(path: Path | str) -> tuple:
    """A sort key by which 2.jpg comes before 10.jpg: digits count as one number."""
    parts = (re.split(r"([0-9]+)", part.casefold()) for part in PurePosixPath(path).parts)
    # Text and numbers alternate, so that equals are compared.
    numbers = [tuple(int(x) if i % 2 else x for i, x in enumerate(part)) for part in parts]
    return numbers, str(path)


def photos_in(folder: Path) -> list[Path]:
    """The readable photos in a folder, in natural order, without hidden files and masks."""
    hidden = (".", _INVERTED_MASK)
    paths = (path for path in folder.iterdir() if not path.name.startswith(hidden))
    return sorted((path for path in paths if is_readable(path) and path.is_file()), key=natural)


def skipped_files(folder: Path) -> list[str]:
    """A line for each kind of file in a folder that :func:`photos_in` skips, with the remedy."""
    known = set(photos_in(folder))
    others = sorted((path for path in folder.iterdir() if path not in known), key=natural)
    others = [path for path in others if not path.name.startswith(".")]
    suffixes = [path.suffix.lower() for path in others if path.is_file()]
    lines = [
        f"skipped {count} {suffix or 'other'} files: {_REMEDIES.get(suffix, 'no image format')}"
        for suffix, count in Counter(suffixes).items()
    ]
    for path in filter(Path.is_dir, others):
        if inside := len(photos_in(path)):
            advice = f"put them into the folder itself, or pass {path}"
            lines.append(f"skipped {inside} photos in {path.name}/: {advice}")
    return lines


class Located(NamedTuple):
    """The photos of a dataset that exist, each once, in natural order."""

    photos: tuple[Path, ...]
    indices: tuple[int, ...]
    """Of each photo's name, in the list of names."""
    paths: tuple[Path | None, ...]
    """Of each name; None if the photo does not exist."""
    factor: int
    """By which the photos are smaller than the dataset's."""
    notes: tuple[str, ...]


def locate_photos(
    source: Path,
    root: Path,
    names: Sequence[str],
    downscale: int,
    pose: Callable[[int], np.ndarray],
    prefix: str = "",
) -> Located:
    """Find the photos of a dataset.

    Args:
        source: the file that lists them, for messages.
        root: the folder that relative names start from.
        names: as listed.
        downscale: the factor at which photos are preferred, in a folder such as ``images_4``.
        pose: the camera of a name's index, to compare those of a photo that is listed twice.
        prefix: of names; without it they are tried too.

    Raises:
        FileNotFoundError: none exists.
        ValueError: a photo has two cameras.
    """
    paths, factor = _find_all(root, names, downscale, prefix)
    first: dict[Path, int] = {}
    for index, path in enumerate(paths):
        same = first.setdefault(path, index) if path else index
        if same != index and not np.allclose(pose(same), pose(index), rtol=1e-5, atol=1e-6):
            raise ValueError(
                f"{source}: {names[same]!r} and {names[index]!r} are one photo, {path}, with two "
                "different cameras; remove the wrong one"
            )
    if not first:
        example = f", such as {root / f'{prefix}{names[0]}'}" if names else ""
        raise FileNotFoundError(
            f"{source}: none of its {len(names)} photos exists{example}; copy the photos there, or "
            "correct their paths"
        )
    photos = sorted(first, key=natural)
    indices = tuple(first[photo] for photo in photos)
    return Located(tuple(photos), indices, paths, factor, tuple(_notes(names, paths, photos)))


def _find_all(
    root: Path, names: Sequence[str], downscale: int, prefix: str
) -> tuple[tuple[Path | None, ...], int]:
    """The files of names, in the preferred of the folders that have most; and its factor."""
    best: tuple[Path | None, ...] = (None,) * len(names)
    factor = 1
    for each in preferred_factors([1, *image_folders(root)], downscale):
        finder = Finder(root, each)
        found = tuple(finder.find(f"{prefix}{name}") or finder.find(name) for name in names)
        if each > 1:
            found = tuple(path if path and finder.folder in path.parts else None for path in found)
        if found.count(None) < best.count(None):
            best, factor = found, each
        if all(found):
            break
    return best, factor


def _notes(
    names: Sequence[str], paths: Sequence[Path | None], photos: Sequence[Path]
) -> Iterable[str]:
    absent = [name for name, path in zip(names, paths, strict=True) if path is None]
    if absent:
        yield (
            f"{len(absent)} of the {len(names)} photos that its files list do not exist, such as "
            f"{absent[0]}"
        )
    if repeated := len(names) - len(absent) - len(photos):
        yield f"{repeated} of the {len(names)} names are of photos listed before; each is read once"


def unlisted(photos: Sequence[Path]) -> list[str]:
    """A line for each folder of photos that has others, which the dataset does not list."""
    known, lines = set(photos), []
    for folder in sorted({path.parent for path in photos}, key=natural):
        others = [path for path in photos_in(folder) if path not in known]
        if others:
            example = f"{len(others)} photos in {folder} have no camera, such as {others[0].name}"
            lines.append(f"{example}: not used")
    return lines


def image_folders(root: Path) -> dict[int, Path]:
    """The folders with photos below ``root``, by the factor at which they are shrunk."""
    folders = {
        int(match[1] or 1): path
        for path in sorted(root.glob(f"{IMAGE_FOLDER}*"), key=natural)
        if (match := re.fullmatch(rf"{IMAGE_FOLDER}(?:_([1-9]\d{{0,3}}))?", path.name))
    }
    return {factor: path for factor, path in folders.items() if _holds_photos(path)}


def _holds_photos(path: Path) -> bool:
    """Whether there are photos in a folder, or one level below it."""
    if not path.is_dir():
        return False
    return any(photos_in(each) for each in (path, *filter(Path.is_dir, path.iterdir())))


def preferred_factors(factors: Iterable[int], downscale: int) -> list[int]:
    """First the smallest photos that a whole factor reduces to the requested size; then others."""
    return sorted(set(factors), key=lambda f: (downscale % f != 0, f if downscale % f else -f))


def find_masks(root: Path, photos: Sequence[Path]) -> tuple[Path | None, ...]:
    """The masks of photos by the conventions of COLMAP, ``masks/PHOTO.jpg.png``, of others,
    ``masks/PHOTO.png``, and of instant-ngp, ``dynamic_mask_PHOTO.png`` beside the photo.
    """
    finder, folders = Finder(root), [folder.name for folder in mask_folders(root)]

    def mask(photo: Path) -> Path | None:
        parts = Path(os.path.relpath(photo, root)).parts
        name = "/".join(parts[1:] or parts)
        names = (f"{each}/{name}{end}" for each in folders for end in (".png", ""))
        found = (finder.find(name, whole=True) for name in names)
        beside = photo.with_name(f"{_INVERTED_MASK}{photo.stem}.png")
        return beside if beside.is_file() else next(filter(None, found), None)

    return tuple(map(mask, photos))


def mask_folders(root: Path) -> list[Path]:
    """The folders that may hold masks."""
    return [root / name for name in _MASK_FOLDERS if (root / name).is_dir()]


def is_inverted(mask: Path) -> bool:
    """Whether a mask is white where its photo is to be ignored, by its name; others are black."""
    return mask.name.startswith(_INVERTED_MASK)


class Finder:
    """Finds files by names that were written elsewhere; keeps the contents of folders.

    A file has one path, which is absolute, whatever the name; symbolic links are kept.
    """

    def __init__(self, root: Path, factor: int = 1) -> None:
        """Look below ``root``, and in ``images_<factor>`` for names in ``images``."""
        self._root = Path(os.path.abspath(root))
        self.folder = IMAGE_FOLDER if factor == 1 else f"{IMAGE_FOLDER}_{factor}"
        self._folders: dict[Path, dict[str, Path]] = {}

    def find(self, name: str, *, whole: bool = False) -> Path | None:
        """The file of a name, or of its end unless only the whole counts; None if there is none."""
        name = re.sub(r"^[A-Za-z]:(?=[\\/])", "", name).replace("\\", "/")
        parts = [
            self.folder if part == IMAGE_FOLDER else part
            for part in PurePosixPath(os.path.normpath(name)).parts
        ]
        exact = Path(os.path.normpath(self._root.joinpath(*parts)))
        if os.path.isfile(exact):  # False for names that no file can have
            return exact
        # A relative name keeps a folder: cam1/0001.jpg is not 0001.jpg.
        shortest = 1 if name.startswith("/") else len(parts) if whole else min(2, len(parts))
        tails = (parts[start:] for start in range(len(parts) - shortest + 1))
        found = (self._below(self._root, tail) for tail in tails if tail)
        return next(filter(None, found), None)

    def _below(self, folder: Path, parts: Sequence[str]) -> Path | None:
        *inside, last = parts
        for part in inside:
            entry = folder.parent if part == ".." else self._entry(folder, part)
            if entry is None:
                return None
            folder = entry
        stem, dot, suffix = last.rpartition(".")
        stems = [last, stem] if f"{dot}{suffix}".lower() in _ALL_SUFFIXES else [last]
        names = [last, *(f"{stem}{suffix}" for stem in stems for suffix in _ALL_SUFFIXES)]
        found = (self._entry(folder, name) for name in names)
        return next((path for path in found if path and path.is_file()), None)

    def _entry(self, folder: Path, name: str) -> Path | None:
        if folder not in self._folders:
            paths = list(folder.iterdir()) if folder.is_dir() else []
            alike = {_key(path.name): path for path in paths}
            self._folders[folder] = alike | {path.name: path for path in paths}
        entries = self._folders[folder]
        return entries.get(name, entries.get(_key(name)))


def _key(name: str) -> str:
    """Equal for names that differ in case, or in how accents are encoded, as on macOS."""
    return unicodedata.normalize("NFC", name).casefold()
