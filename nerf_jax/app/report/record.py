"""The files of a run read back: scores, reports of training, paths of pictures.

Only the fields that a page needs are required. Other fields of ``results.json`` are shown if they
have the form of a score, and ignored otherwise.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nerf_jax.app.runs import Run
from nerf_jax.config.serialization import to_dict


class ScoredView(NamedTuple):
    """A held-out view and its scores."""

    name: str
    psnr: float
    ssim: float
    """NaN for images too small for it."""
    picture: Path
    """Truth, rendering, error and depth, side by side."""


class MeanScore(NamedTuple):
    """A mean over the views, by its name in the results."""

    name: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Record:
    """The contents of an evaluated run."""

    run: Run
    name: str
    """Of its config."""
    config: Mapping[str, Any]
    """By full name, ``optimizer.learning_rate``."""
    score: MeanScore
    more_scores: tuple[MeanScore, ...]
    """Other means in the results, such as over the right halves of the views."""
    views: tuple[ScoredView, ...]
    """From the worst to the best."""
    protocol: Mapping[str, Any]
    facts: Mapping[str, Any]
    """The other fields of the results: steps, seconds, machine, versions."""
    reports: tuple[Mapping[str, Any], ...]
    """Of training, in the order of steps."""

    @property
    def rays_per_second(self) -> float:
        """The median over the reports of training; NaN without any."""
        rates = sorted(r["rays_per_second"] for r in self.reports if r.get("rays_per_second"))
        return float(rates[len(rates) // 2]) if rates else math.nan

    @property
    def machine(self) -> str:
        """The machine of the evaluation, which is usually that of training."""
        return "; ".join(str(self.facts[n]) for n in ("machine", "device") if n in self.facts)

    def fact(self, name: str) -> float:
        """A number in the results, or NaN."""
        return _number(self.facts.get(name))


def read(run: Run) -> Record:
    """Read a run's files.

    Raises:
        OSError: there is no run, or it was not evaluated.
        ValueError: one of its files is damaged.
    """
    config, results = run.config(), run.results()
    try:
        protocol = dict(results["protocol"])
        folder = run.folder / "images" / str(protocol["split"])
        views = [_view(each, folder) for each in results["per_image"]]
        score = MeanScore("", _number(results["psnr"]), _number(results["ssim"]))
        if not views:
            raise ValueError("no images in per_image")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{run.results_file}: damaged ({type(error).__name__}: {error}); "
            f"`run.py eval {run.folder}` rewrites it"
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


def _view(each: Mapping[str, Any], folder: Path) -> ScoredView:
    name = str(each["name"])
    picture = folder / f"{name.replace('/', '_')}.png"
    return ScoredView(name, _number(each["psnr"]), _number(each.get("ssim")), picture)


def _number(value: Any) -> float:
    """A number of a JSON file; NaN for any other value."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else math.nan


def _more_scores(values: Mapping[str, Any], prefix: str = "") -> Iterator[MeanScore]:
    """Every table of the results, however deep, that has a PSNR."""
    for key, value in values.items():
        if key in _NO_FACTS or not isinstance(value, Mapping):
            continue
        name, score = f"{prefix}{key.replace('_', ' ')}", _number(value.get("psnr"))
        if not math.isnan(score):
            yield MeanScore(name, score, _number(value.get("ssim")))
        yield from _more_scores(value, f"{name}, ")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
