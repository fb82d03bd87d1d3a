"""What a run has written of itself, read again: scores, reports of training, where its files are.

Only the fields that a page cannot do without are asked for; what else ``results.json`` holds is
taken along where it has the form of a score, and left alone where it has not.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nerf_jax.app.runs import Run
from nerf_jax.config.serialization import to_dict


class View(NamedTuple):
    """A held-out view, and how it was scored."""

    name: str
    psnr: float
    ssim: float
    """NaN for images too small to have one."""
    picture: Path
    """Truth, rendering, error and depth, side by side."""


class Score(NamedTuple):
    """A mean over the views, by its name in the results."""

    name: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Record:
    """A run that has been evaluated, as its files tell it."""

    run: Run
    name: str
    """Of its config."""
    config: Mapping[str, Any]
    """By full name, ``optimizer.learning_rate``."""
    score: Score
    more_scores: tuple[Score, ...]
    """Of parts of the views, or of other ways to render them, where the results have such."""
    views: tuple[View, ...]
    """From the worst to the best."""
    protocol: Mapping[str, Any]
    facts: Mapping[str, Any]
    """The results' own fields: steps, seconds, machine, versions."""
    reports: tuple[Mapping[str, Any], ...]
    """Of training, in the order of steps."""

    @property
    def rays_per_second(self) -> float:
        """The median over the reports of training; NaN where there are none."""
        rates = sorted(r["rays_per_second"] for r in self.reports if r.get("rays_per_second"))
        return float(rates[len(rates) // 2]) if rates else math.nan

    @property
    def machine(self) -> str:
        """What it was evaluated on, and most often trained."""
        return "; ".join(str(self.facts[n]) for n in ("machine", "device") if n in self.facts)

    def fact(self, name: str) -> float:
        """A number of the results, or NaN."""
        return _number(self.facts.get(name))


def read(run: Run) -> Record:
    """Read a run's files.

    Raises:
        OSError: it is no run, or was never evaluated.
        ValueError: a file of it is damaged.
    """
    config = run.config()
    results = run.results()
    try:
        protocol = dict(results["protocol"])
        folder = run.folder / "images" / str(protocol["split"])
        views = [_view(each, folder) for each in results["per_image"]]
        score = Score("", _number(results["psnr"]), _number(results["ssim"]))
        if not views:
            raise ValueError("no images in per_image")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{run.results_file}: damaged ({type(error).__name__}: {error}); "
            f"`run.py eval {run.folder}` writes it anew"
        ) from error
    return Record(
        run=run,
        name=config.name,
        config=dict(_flat(to_dict(config))),
        score=score,
        more_scores=tuple(_more_scores(results)),
        views=tuple(sorted(views, key=lambda view: view.psnr)),
        protocol=protocol,
        facts={name: results[name] for name in results if name not in _NO_FACTS},
        reports=tuple(run.metrics()),
    )


_NO_FACTS = {"psnr", "ssim", "protocol", "per_image"}


def _view(each: Mapping[str, Any], folder: Path) -> View:
    name = str(each["name"])
    picture = folder / f"{name.replace('/', '_')}.png"
    return View(name, _number(each["psnr"]), _number(each.get("ssim")), picture)


def _number(value: Any) -> float:
    """NaN for what is none: JSON has no word for it that all readers know."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else math.nan


def _more_scores(values: Mapping[str, Any], name: str = "") -> Iterator[Score]:
    """Every table of the results, however deep, that has a PSNR."""
    for key, value in values.items():
        if key in _NO_FACTS or not isinstance(value, Mapping):
            continue
        full = f"{name}, {key}" if name else key
        if not math.isnan(_number(value.get("psnr"))):
            yield Score(full.replace("_", " "), _number(value["psnr"]), _number(value.get("ssim")))
        yield from _more_scores(value, full)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
