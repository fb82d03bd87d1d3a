"""Mutations of a file's content: of its bytes, or of the values that its format holds."""

import copy
import io
import json
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

Mutation = Callable[[bytes, random.Random], bytes]

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 0.5, -1e-30, 1e30, -1e300, 10**400, 2**31, 2**63, 1 / 3),
    *(float("nan"), float("inf"), -float("inf"), "", "0", "nan", "a", "../..", "/", "\0", "\ud800"),
    *("名前.png", "images/0002.png", "a" * 5000, [], {}, [[]], [1], {"a": 1}, [0.0] * 16),
]
WORDS = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    "1e30",
    "4294967296",
    "9" * 30,
    "0x1",
    "",
    "#",
    "名前",
    "a",
]
NUMBERS = [0, 1, -1, np.nan, np.inf, -np.inf, 1e30, -1e300, 2**31, 256, 0.5]
EXTREMES = [
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", struct.pack("<i", -(2**31)), struct.pack("<q", 2**62)),
    *(struct.pack("<d", value) for value in (np.nan, np.inf, 1e300, -1.0, 0.0)),
]


def mutate(content: bytes, suffix: str, choose: random.Random) -> bytes:
    """A changed copy: half of them are still of the format, with other values."""
    structured = BY_SUFFIX.get(suffix)
    if structured is None or choose.random() < 0.3:
        structured = mutate_bytes
    for _ in range(choose.choice((1, 1, 2, 3))):
        try:
            content = structured(content, choose)
        except Exception:  # it is no longer of the format
            content = mutate_bytes(content, choose)
    return content


def mutate_bytes(content: bytes, choose: random.Random) -> bytes:
    """Flip, overwrite, cut, insert, repeat or remove some bytes."""
    start, stop = sorted(choose.randrange(len(content) + 1) for _ in range(2))
    span, data = content[start:stop], bytearray(content)
    kind = choose.randrange(9)
    if kind <= 2 and data:
        for _ in range(choose.choice((1, 1, 4, 16))):
            data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        return bytes(data)
    replacement = {
        3: choose.choice(EXTREMES),
        4: choose.randbytes(choose.choice((1, 8, 100))),
        5: span * 2,
        6: bytes(len(span)),
    }.get(kind, b"")
    if kind in (3, 4):  # over as many bytes
        return content[:start] + replacement + content[start + len(replacement) :]
    if kind == 7:
        return content[:start]
    if kind == 8:
        return choose.choice((b"", b"\n", b"[" * 100_000, b"{}", b"null", content * 2, b"\xff\xfe"))
    return content[:start] + replacement + content[stop:]


def mutate_json(content: bytes, choose: random.Random) -> bytes:
    """Replace, remove, repeat, rename or exchange values."""
    holder = [json.loads(content)]
    (parent, key), (other, other_key) = _place(holder, choose), _place(holder, choose)
    value, kind = parent[key], choose.randrange(7)
    if kind == 0 and parent is not holder:
        del parent[key]
    elif kind == 1 and isinstance(parent, list) and parent is not holder:
        parent.insert(key, copy.deepcopy(value))
    elif kind == 2 and isinstance(parent, dict):
        parent[choose.choice((key.upper(), key[:-1], key + "_2", other_key, "k1"))] = parent.pop(
            key
        )
    elif kind == 3:
        parent[key], other[other_key] = copy.deepcopy(other[other_key]), value
    elif kind == 4 and type(value) in (int, float):
        parent[key] = value * choose.choice((-1, 1.001, 1e-9, 1e9, 0.5))
    elif kind == 5:
        parent[key] = [value] if choose.random() < 0.5 else str(value)
    else:
        parent[key] = choose.choice(VALUES)
    return json.dumps(holder[0], ensure_ascii=choose.random() < 0.5).encode(errors="replace")


def _place(value: Any, choose: random.Random) -> tuple[Any, Any]:
    """A container in a JSON value, and one of its keys: any depth is about as likely."""
    key = choose.choice(list(value) if isinstance(value, dict) else range(len(value)))
    inner = value[key]
    if isinstance(inner, dict | list) and inner and choose.random() < 0.85:
        return _place(inner, choose)
    return value, key


def mutate_text(content: bytes, choose: random.Random) -> bytes:
    """Change, remove, repeat or exchange lines, or the words of a line."""
    lines = content.decode(errors="surrogateescape").split("\n")
    index, other = (choose.randrange(len(lines)) for _ in range(2))
    if choose.random() < 0.4:
        _edit(lines, index, other, choose, [f"# {lines[index]}", "", lines[index][:-1]])
    else:
        words = lines[index].split(" ")
        at, to = (choose.randrange(len(words)) for _ in range(2))
        _edit(words, at, to, choose, [*WORDS, f"-{words[at]}", f"{words[at]}e2"])
        lines[index] = " ".join(words)
    return "\n".join(lines).encode(errors="surrogateescape")


def _edit(items: list[str], at: int, to: int, choose: random.Random, new: list[str]) -> None:
    kind = choose.randrange(4)
    if kind == 0:
        del items[at]
    elif kind == 1:
        items.insert(to, items[at])
    elif kind == 2:
        items[at], items[to] = items[to], items[at]
    else:
        items[at] = choose.choice(new)


def mutate_npy(content: bytes, choose: random.Random) -> bytes:
    """Change the elements, the shape or the type of an array."""
    file = io.BytesIO()
    np.save(file, _mutate_array(np.load(io.BytesIO(content)), choose), allow_pickle=True)
    return file.getvalue()


def mutate_npz(content: bytes, choose: random.Random) -> bytes:
    """Change, remove or rename an array."""
    with np.load(io.BytesIO(content)) as stored:
        arrays = dict(stored)
    name, other = (choose.choice(sorted(arrays)) for _ in range(2))
    array, kind = arrays.pop(name), choose.randrange(8)
    if kind == 0:
        arrays[f"{name}_2"] = array
    elif kind == 1:
        arrays |= {name: arrays.get(other, array), other: array}
    elif kind > 2:  # 2: without it
        arrays[name] = _mutate_array(array, choose)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _mutate_array(array: np.ndarray, choose: random.Random) -> np.ndarray:
    kind = choose.randrange(8)
    if kind <= 2 and array.size:
        array = array.copy()
        with np.errstate(all="ignore"):
            array.flat[choose.randrange(array.size)] = np.array(choose.choice(NUMBERS)).astype(
                array.dtype
            )
        return array
    if kind == 3:
        kinds = ("i4", "u1", "f2", "f8", "c16", "U8", "?", "O", "S3", ">f4")
        with np.errstate(all="ignore"):
            return array.astype(choose.choice(kinds))
    if kind == 4:
        return array[: choose.randrange(len(array) + 1)]
    if kind == 5:
        return np.concatenate([array, array[:1]])
    if kind == 6:
        return choose.choice((array.T, array.ravel(), array[None], np.array(7), array[..., :-1]))
    return np.roll(array, 1)


BY_SUFFIX: dict[str, Mutation] = {
    ".json": mutate_json,
    ".txt": mutate_text,
    ".jsonl": mutate_text,
    ".npy": mutate_npy,
    ".npz": mutate_npz,
}
