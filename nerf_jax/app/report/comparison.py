"""The page of several runs, side by side. The first one is what the others are held against."""

import math
import string
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nerf_jax.app.report import plots
from nerf_jax.app.report.pages import write_page
from nerf_jax.app.report.pictures import picture, read_panels
from nerf_jax.app.report.record import Record, View, read
from nerf_jax.app.report.single import MAX_SIDE
from nerf_jax.app.report.text import NOTHING, TIMES, plain, protocol
from nerf_jax.app.runs import Run

MAX_RUNS = 26
"""Runs are called by letters."""


@dataclass(frozen=True)
class Member:
    """A run among others."""

    letter: str
    label: str
    """As much of its path as tells it from the others."""
    record: Record
    unlike: tuple[str, ...]
    """In what its scores were taken otherwise than the first run's; empty: they compare."""

    @property
    def tone(self) -> int:
        """Which of the page's colours."""
        return (ord(self.letter) - ord("A")) % 6


class Seen(NamedTuple):
    """A view as one run sees it."""

    member: Member
    view: View
    rendering: str
    error: str


class SharedView(NamedTuple):
    """A view that several runs were scored on."""

    why: str
    name: str
    size_hw: tuple[int, int]
    truth: str
    seen: tuple[Seen, ...]


def compare(runs: Sequence[Run], out: Path | None = None) -> Path:
    """Write a page of several runs: scores, the same views, curves, and how their configs differ.

    Args:
        runs: two or more that were evaluated. Their scores are marked as not comparable where
            they were taken otherwise than those of the first.
        out: the file to write; ``compare.html`` beside the first run's folder if None.

    Raises:
        OSError: one is no run, was never evaluated, or ``out`` cannot be written.
        ValueError: too few or too many, or a file of them is damaged.
    """
    if not 2 <= len(runs) <= MAX_RUNS:
        raise ValueError(f"compare takes 2 to {MAX_RUNS} runs, not {len(runs)}: name their folders")
    records = [read(run) for run in runs]
    members = [
        Member(letter, label, record, tuple(unlike(records[0], record)))
        for letter, label, record in zip(
            string.ascii_uppercase, labels([run.folder for run in runs]), records, strict=False
        )
    ]
    return write_page(
        out or runs[0].folder.parent / "compare.html",
        "comparison.html",
        members=members,
        best=best([member for member in members if not member.unlike]),
        protocol=protocol(records[0].protocol),
        differences=differences([record.config for record in records]),
        views=_shared(members),
        plots=_curves(members),
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def labels(folders: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(path[-length:]) for path in parts]
        if len(set(found)) == len(set(parts)):
            break
    return found


def unlike(first: Record, other: Record) -> list[str]:
    """In what the scores of two runs were taken differently, as phrases; empty if in nothing."""
    names = sorted(first.protocol.keys() | other.protocol.keys())
    found = [
        f"{plain(name)} {_value(other.protocol.get(name))}, not {_value(first.protocol.get(name))}"
        for name in names
        if first.protocol.get(name) != other.protocol.get(name)
    ]
    views = [{view.name for view in record.views} for record in (first, other)]
    if not found and views[0] != views[1]:
        found = ["other views"]
    return found


def _value(value: Any) -> str:
    return f" {TIMES} ".join(map(str, value)) if isinstance(value, list) else str(value)


def best(members: Sequence[Member]) -> set[tuple[str, str]]:
    """The letters of those with the best scores, each with the score's name."""
    found = set()
    for name in ("psnr", "ssim"):
        values = {member.letter: getattr(member.record.score, name) for member in members}
        most = max((value for value in values.values() if math.isfinite(value)), default=None)
        if len(values) > 1 and most is not None:
            found |= {(letter, name) for letter, value in values.items() if value == most}
    return found


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The fields that are not the same in all configs; a dash where one has no such field."""
    names = dict.fromkeys(name for config in configs for name in config)
    rows = {name: [config.get(name, NOTHING) for config in configs] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def _shared(members: Sequence[Member]) -> list[SharedView]:
    """The views that say most, among those that two runs or more have pictures of."""
    groups: dict[tuple[str, str, str], list[tuple[Member, View]]] = {}
    for member in members:
        where = str(member.record.protocol.get("scene")), str(member.record.protocol["split"])
        for view in member.record.views:
            if view.picture.is_file():
                groups.setdefault((*where, view.name), []).append((member, view))
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return []
    several.sort(key=lambda group: group[0][1].psnr)
    widest = max(several, key=_spread)
    chosen = [(widest, "where they differ most")]
    for group, why in ((several[0], "the worst"), (several[-1], "the best")):
        if all(group is not other for other, _ in chosen):
            chosen.append((group, f"{why} of {group[0][0].letter}"))
    return [_beside(why, group) for group, why in chosen]


def _spread(group: Sequence[tuple[Member, View]]) -> float:
    scores = [view.psnr for _, view in group]
    return max(scores) - min(scores)


def _beside(why: str, group: Sequence[tuple[Member, View]]) -> SharedView:
    panels = [read_panels(view.picture) for _, view in group]
    largest = max(panels, key=lambda each: each.truth.size).truth
    seen = tuple(
        Seen(member, view, picture(each.rendering, MAX_SIDE), picture(each.error, MAX_SIDE // 2))
        for (member, view), each in zip(group, panels, strict=True)
    )
    size_hw = largest.shape[0], largest.shape[1]
    return SharedView(why, group[0][1].name, size_hw, picture(largest, MAX_SIDE), seen)


def _curves(members: Sequence[Member]) -> list[plots.Plot]:
    """PSNR of held-out rays over steps and over time, a curve for each run."""
    drawn = []
    for field, label in (("step", "steps"), ("train_seconds", "seconds of training")):
        curves = [
            plots.curve(
                member.letter, member.tone, member.record.reports, field, "val_psnr", marked=True
            )
            for member in members
        ]
        title = f"PSNR of held-out rays over {label}"
        drawn.append(plots.plot(title, label, "PSNR (dB)", curves))
    return [plot for plot in drawn if plot]
