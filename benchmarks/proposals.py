"""Proposal sampling against the occupancy grid on lego, from the same number of rays.

    python benchmarks/proposals.py --rays 4e6

The preset of ``lego.py``, and the same field with proposal sampling. Each is trained on the same
number of rays, with a learning rate that decays to a twentieth, and scored on val views 0, 12, ...,
84.
Prints a table, and writes ``benchmarks/results/proposals.json``.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from record import write_record
from trial import Trial, lego

from nerf_jax.config import Config, Exponential, ProposalConfig

VIEWS = range(0, 96, 12)


def over(config: Config, steps: float) -> Config:
    """The config with a learning rate that decays over the given number of steps."""
    schedule = Exponential(final=0.05, steps=max(1, round(steps)))
    return replace(config, optimizer=replace(config.optimizer, schedule=schedule))


def by_proposals(base: Config) -> Config:
    """The preset, with its field sampled by proposals."""
    kept = ("box_radius", "num_levels", "num_features", "max_entries", "max_resolution", "width")
    model = ProposalConfig(
        **{name: getattr(base.model, name) for name in kept},
        num_proposals=(64, 24),
        num_samples=16,
        proposal_resolutions=(64, 128),
        proposal_entries=2**15,
        anneal_steps=500,
    )
    return replace(
        base,
        model=model,
        optimizer=replace(base.optimizer, learning_rate=1e-2),
        train=replace(base.train, rays_per_step=1024),
        eval=replace(base.eval, rays_per_chunk=4096),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rays", type=float, default=4e6, help="training rays of each")
    args = parser.parse_args()
    base = lego("cpu")
    rows = []
    for name, config in (
        ("occupancy grid", over(base, args.rays / 3000)),  # rays of a step that are not dropped
        ("proposals", over(by_proposals(base), args.rays / 1024)),
    ):
        trial, learned = Trial(config), 0.0
        while learned < args.rays:
            metrics = trial.train(float("inf"), trial.step + 20)
            learned += 20 * config.train.rays_per_step * metrics.get("kept", 1.0)
        scores = trial.psnrs(VIEWS)
        rows.append(
            {
                "name": name,
                "rays": round(learned),
                "steps": trial.step,
                "seconds": trial.seconds,
                "psnr": float(np.mean(scores)),
                "worst": min(scores),
            }
        )
        print(rows[-1], flush=True)
    write_record(Path(__file__), {"rows": rows}, {})


if __name__ == "__main__":
    main()
