"""Numbers and protocols, as people read them."""

import math
from collections.abc import Mapping
from typing import Any

from nerf_jax.app.progress import duration

NOTHING = "\N{EN DASH}"
"""For what there is not."""
TIMES = "\N{MULTIPLICATION SIGN}"


def fixed(value: float, digits: int) -> str:
    """So many digits after the point."""
    return f"{value:.{digits}f}" if math.isfinite(value) else NOTHING


def count(value: float) -> str:
    """A whole number, in groups of three digits."""
    return f"{value:,.0f}" if math.isfinite(value) else NOTHING


def seconds(value: float) -> str:
    """Short times to a tenth."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.1f} s" if value < 9.95 else duration(value)


def setting(value: Any) -> str:
    """A value of a config."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def protocol(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the scores were taken on and how, as pairs of a name and a phrase."""
    told = dict(values)
    views, every = told.pop("views", None), told.pop("every", 1)
    split, scene = told.pop("split"), told.pop("scene", None)
    size, downscale = told.pop("image_size_hw", None), told.pop("downscale", 1)
    which = "all" if every == 1 else f"every {ordinal(every)}"
    phrases = [
        ("scene", str(scene)),
        ("views", f"{views}: {which} of the split “{split}”" + _learned_from(split)),
    ]
    if size:
        smaller = "" if downscale == 1 else f", {setting(downscale)} times smaller than the files"
        phrases.append(("size", f"{size[1]} {TIMES} {size[0]} pixels{smaller}"))
    names = {"psnr": "PSNR", "ssim": "SSIM"}
    phrases += [(names.get(name, plain(name)), setting(told[name])) for name in told]
    return phrases


def plain(name: str) -> str:
    """A field's name as words."""
    return name.removesuffix("_hw").replace("_", " ")


def _learned_from(split: str) -> str:
    return ", which was learned from" if split == "train" else ", none of them learned from"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th."""
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
