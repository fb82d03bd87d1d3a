"""Explains why photos could not be placed, and which photos to take next."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

Matches = Mapping[tuple[str, str], int]
"""``{(photo, photo): count}``: the matches of two photos that agree with one two-view geometry."""

_OVERLAP = 30
"""Matches of two photos that overlap."""


def groups(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The photos that pairs link, directly or through others, the largest group first."""
    group_of = {name: [name] for name in names}
    for first, second in pairs:
        if group_of[first] is not group_of[second]:
            joined = group_of[first] + group_of[second]
            group_of.update(dict.fromkeys(joined, joined))
    found = {id(group): sorted(group, key=names.index) for group in group_of.values()}
    return sorted(found.values(), key=len, reverse=True)


def ranges(photos: Collection[str], names: Sequence[str]) -> str:
    """Photos in words, where consecutive ones of ``names`` are a range: ``a to d, g``."""
    runs = [[*run] for chosen, run in itertools.groupby(names, photos.__contains__) if chosen]
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def missing_links(
    names: Sequence[str], models: Sequence[Sequence[str]], matches: Matches
) -> list[str]:
    """Sentences that name photos without a link to the others, and the photos to take.

    ``models`` are the photos that were placed together, the largest model first.
    """
    known = {name for model in models for name in model}
    found = [
        f"{ranges(models[0], names)} and {ranges(model, names)} were placed apart: take photos "
        "from between"
        for model in models[1:]
        if model
    ]
    left, unlinked = [name for name in names if name not in known], list[str]()
    for group in groups(left, [pair for pair in matches if not known & {*pair}]):
        links = [pair for pair in matches if known & {*pair} and {*group} & {*pair}]
        if links:
            first, second = best = max(links, key=lambda pair: matches[pair])
            found.append(
                f"{ranges(group, names)}: at most {matches[best]} matches with a placed photo, "
                f"between {first} and {second}: take photos from between these two"
            )
        else:
            unlinked += group
    if unlinked:
        found.append(
            f"{ranges(unlinked, names)}: no match with the other photos; if they show the same "
            "scene, take photos that link them with the others"
        )
    return found


def overlap(names: Sequence[str], matches: Matches) -> float:
    """The number of other photos that a photo overlaps, the median over photos."""
    partners = dict.fromkeys(names, 0)
    for pair, count in matches.items():
        for name in pair if count >= _OVERLAP else ():
            partners[name] += 1
    return float(np.median([*partners.values()]))


def likely_reason(features: float, partners: float, count: int) -> str:
    """The most likely reason why photos could not be placed, from medians, and its remedy."""
    if features < 500:
        reason = "few features: take sharp photos in good light, with textured objects in view"
    elif partners < 3:
        reason = (
            "too little overlap: take more photos, each sharing two thirds of its view with the "
            "previous one; for a video, --matching exhaustive matches all pairs of frames"
        )
    else:
        reason = (
            "enough overlap, but no camera motion explains it: walk around the scene instead of "
            "turning on the spot, and keep moving objects out of view"
        )
    return (
        f"a photo has {features:.0f} features and overlaps {partners:.0f} of the {count - 1} "
        f"others, in the median; {reason}"
    )
