"""Numbers and protocols as texts for readers."""

import math
from collections.abc import Mapping
from typing import Any

from nerf_jax.app.progress import duration

DASH = "\N{EN DASH}"
"""For missing values."""
TIMES = "\N{MULTIPLICATION SIGN}"


def fixed(value: float, digits: int) -> str:
    """A number with a fixed number of digits after the point."""
    return f"{value:.{digits}f}" if math.isfinite(value) else DASH


def count(value: float) -> str:
    """A whole number, in groups of three digits."""
    return f"{value:,.0f}" if math.isfinite(value) else DASH


def seconds(value: float) -> str:
    """A duration; short ones to a tenth of a second."""
    if not math.isfinite(value):
        return DASH
    return f"{value:.1f} s" if value < 9.95 else duration(value)


def setting(value: Any) -> str:
    """The value of a config's field."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def protocol(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The protocol of the scores, as pairs of a name and a phrase."""
    rest = dict(values)
    views, every = rest.pop("views", None), rest.pop("every", 1)
    split, scene = rest.pop("split"), rest.pop("scene", None)
    size, downscale = rest.pop("image_size_hw", None), rest.pop("downscale", 1)
    which = "all" if every == 1 else f"every {ordinal(every)}"
    use = "which was used for training" if split == "train" else "none of them used for training"
    phrases = [("scene", str(scene)), ("views", f"{views}: {which} of the split “{split}”, {use}")]
    if size:
        smaller = "" if downscale == 1 else f", {setting(downscale)} times smaller than the files"
        phrases.append(("size", f"{size[1]} {TIMES} {size[0]} pixels{smaller}"))
    names = {"psnr": "PSNR", "ssim": "SSIM"}
    return phrases + [(names.get(name, plain(name)), setting(rest[name])) for name in rest]


def plain(name: str) -> str:
    """A field's name as words."""
    return name.removesuffix("_hw").replace("_", " ")


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th."""
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
