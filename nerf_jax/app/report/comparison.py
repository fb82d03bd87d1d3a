"""The comparison of several runs on one page. The first run is the reference."""

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
from nerf_jax.app.report.record import Record, ScoredView, read
from nerf_jax.app.report.single import MAX_SIDE
from nerf_jax.app.report.text import DASH, TIMES, plain, protocol
from nerf_jax.app.runs import Run

MAX_RUNS = 26
"""Each run is named by a letter."""


@dataclass(frozen=True)
class Member:
    """One of the compared runs."""

    letter: str
    label: str
    """The end of its path that differs from the others'."""
    record: Record
    unlike: tuple[str, ...]
    """Differences of its protocol from the first run's; empty: their scores are comparable."""

    @property
    def tone(self) -> int:
        """Index of one of the page's colours."""
        return (ord(self.letter) - ord("A")) % 6


class MemberView(NamedTuple):
    """One run's rendering of a view."""

    member: Member
    view: ScoredView
    rendering: str
    error: str


class SharedView(NamedTuple):
    """A view that several runs were scored on."""

    reason: str
    """For its choice."""
    name: str
    size_hw: tuple[int, int]
    truth: str
    members: tuple[MemberView, ...]


def compare(runs: Sequence[Run], out: Path | None = None) -> Path:
    """Write a page of several runs: scores, the same views, curves, differences of their configs.

    Args:
        runs: two or more evaluated runs. Scores by another protocol than the first run's are
            marked as not comparable.
        out: the file to write; ``compare.html`` next to the first run's folder if None.

    Raises:
        OSError: there is no run, it was not evaluated, or ``out`` cannot be written.
        ValueError: there are too few or too many runs, or one of their files is damaged.
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
        views=_shared_views(members),
        plots=plots.psnr_plots("PSNR of held-out rays", lambda x: _curves(members, x)),
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def labels(folders: Sequence[Path]) -> list[str]:
    """The ends of paths, long enough to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(path[-length:]) for path in parts]
        if len(set(found)) == len(set(parts)):
            break
    return found


def unlike(first: Record, other: Record) -> list[str]:
    """The differences between the protocols of two runs' scores, as phrases."""
    names = sorted(first.protocol.keys() | other.protocol.keys())
    found = [
        f"{plain(name)} {_value(other.protocol.get(name))}, not {_value(first.protocol.get(name))}"
        for name in names
        if first.protocol.get(name) != other.protocol.get(name)
    ]
    views = [{view.name for view in record.views} for record in (first, other)]
    return found if found or views[0] == views[1] else ["other views"]


def _value(value: Any) -> str:
    return f" {TIMES} ".join(map(str, value)) if isinstance(value, list) else str(value)


def best(members: Sequence[Member]) -> set[tuple[str, str]]:
    """The best scores, as pairs of a run's letter and the score's name."""
    found = set()
    for name in ("psnr", "ssim"):
        values = {member.letter: getattr(member.record.score, name) for member in members}
        most = max((value for value in values.values() if math.isfinite(value)), default=None)
        if len(values) > 1:
            found |= {(letter, name) for letter, value in values.items() if value == most}
    return found


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The fields that differ between the configs; a dash where one has no such field."""
    names = dict.fromkeys(name for config in configs for name in config)
    rows = {name: [config.get(name, DASH) for config in configs] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def _shared_views(members: Sequence[Member]) -> list[SharedView]:
    """Up to three of the views that two runs or more have pictures of."""
    groups: dict[tuple[str, str, str], list[tuple[Member, ScoredView]]] = {}
    for member in members:
        split = str(member.record.protocol.get("scene")), str(member.record.protocol["split"])
        for view in member.record.views:
            if view.picture.is_file():
                groups.setdefault((*split, view.name), []).append((member, view))
    shared = [group for group in groups.values() if len(group) > 1]
    if not shared:
        return []
    shared.sort(key=lambda group: group[0][1].psnr)
    widest = max(shared, key=_spread)
    chosen = [(widest, "where they differ most")]
    for group, rank in ((shared[0], "the worst"), (shared[-1], "the best")):
        if all(group is not other for other, _ in chosen):
            chosen.append((group, f"{rank} of {group[0][0].letter}"))
    return [_shared_view(reason, group) for group, reason in chosen]


def _spread(group: Sequence[tuple[Member, ScoredView]]) -> float:
    scores = [view.psnr for _, view in group]
    return max(scores) - min(scores)


def _shared_view(reason: str, group: Sequence[tuple[Member, ScoredView]]) -> SharedView:
    panels = [read_panels(view.picture) for _, view in group]
    largest = max(panels, key=lambda each: each.truth.size).truth
    views = tuple(
        MemberView(*pair, picture(each.rendering, MAX_SIDE), picture(each.error, MAX_SIDE // 2))
        for pair, each in zip(group, panels, strict=True)
    )
    size_hw = largest.shape[0], largest.shape[1]
    return SharedView(reason, group[0][1].name, size_hw, picture(largest, MAX_SIDE), views)


def _curves(members: Sequence[Member], x: str) -> list[plots.Curve]:
    return [
        plots.curve(run.letter, run.tone, run.record.reports, x, "val_psnr", marked=True)
        for run in members
    ]
