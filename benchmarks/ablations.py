"""Ablations of the lego preset: one choice changed at a time.

    python benchmarks/ablations.py --seconds 60

Every variant trains for the same time from the same seed and is scored on val views 0, 12, ..., 84
at 400x400. Prints a table, and writes ``benchmarks/results/ablations.json``.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from record import write_record
from trial import Trial, lego

from nerf_jax.config import Config, load


def variants(base: Config) -> dict[str, Config]:
    """The variants of a config, by name."""

    def model(**fields: Any) -> Config:
        return replace(base, model=replace(base.model, **fields))

    samples, rays = base.model.max_samples, base.train.rays_per_step
    twice = replace(base.train, rays_per_step=2 * rays)
    return {
        "preset": base,
        "sizes for few steps": load("lego.py", "cpu", num_steps=0),
        "4 levels x 4": model(num_levels=4),
        "6 levels x 4": model(num_levels=6),
        "8 levels x 2": model(num_levels=8, num_features=2),
        "16 levels x 2": model(num_levels=16, num_features=2),
        "tables of 2^15": model(max_entries=2**15),
        "tables of 2^17": model(max_entries=2**17),
        "tables of 2^19": model(max_entries=2**19),
        "levels of up to 1024": model(max_resolution=1024),
        "32 units wide": model(width=32),
        "L2": model(huber=0.0),
        "white background": replace(base, data=replace(base.data, background="white")),
        "fewer candidates": model(num_candidates=256),
        "more candidates": model(num_candidates=512),
        "grid alpha 0.003": model(grid_alpha=0.003),
        "grid alpha 0.1": model(grid_alpha=0.1),
        "cut at T and alpha 1e-4": model(min_alpha=1e-4, min_transmittance=1e-4),
        "cut at T and alpha 1e-2": model(min_alpha=1e-2, min_transmittance=1e-2),
        "twice the batch": replace(model(max_samples=2 * samples), train=twice),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, per variant")
    parser.add_argument("--only", nargs="*", help="variants to run again, by name")
    args = parser.parse_args()
    known = variants(lego("cpu"))
    unknown = set(args.only or ()) - set(known)
    if unknown:
        parser.error(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    rows = []
    for name in args.only or known:
        config = known[name]
        trial = Trial(replace(config, train=replace(config.train, max_seconds=args.seconds)))
        metrics = trial.train(args.seconds)
        scores = trial.psnrs(range(0, 85, 12))
        rows.append(
            {
                "variant": name,
                "psnr": float(np.mean(scores)),
                "worst": min(scores),
                "steps": trial.step,
                "rays_per_step": round(metrics["kept"] * config.train.rays_per_step),
            }
        )
        row = rows[-1]
        print(
            f"{name:24s} {row['psnr']:6.2f} dB  worst {row['worst']:6.2f}  {row['steps']:6d} steps "
            f"of {row['rays_per_step']} rays",
            flush=True,
        )
    if args.only:
        rows = _updated(rows, list(known))
    write_record(Path(__file__), {"seconds": args.seconds, "rows": rows}, {})


def _updated(rows: list[dict[str, Any]], order: list[str]) -> list[dict[str, Any]]:
    """The rows of the last record, with the given ones replaced."""
    record = Path(__file__).parent / "results" / "ablations.json"
    last = json.loads(record.read_text())["rows"] if record.is_file() else []
    by_name = {row["variant"]: row for row in [*last, *rows]}
    return [by_name[name] for name in order if name in by_name]


if __name__ == "__main__":
    main()
