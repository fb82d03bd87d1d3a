"""PSNR on held-out views of lego over training time.

    python benchmarks/time_to_psnr.py                              # the CPU preset, 10 minutes
    python benchmarks/time_to_psnr.py --preset gpu --seconds 120   # the GPU preset, at 800x800

Training time is the time of the steps, without compilation and scoring. The learning rate falls
with the share of it that has passed: a run of a minute is better than the first minute of ten
(``--seconds 60``). Prints a table, and writes
``benchmarks/results/time_to_psnr_<preset>.json`` with the machine, the versions and the command.
"""

import argparse
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
from record import write_record
from trial import Trial, lego

MARKS = (10, 20, 30, 60, 90, 120, 180, 240, 300, 420, 600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--seconds", type=float, default=600.0, help="of training")
    parser.add_argument("--every", type=int, default=12, help="only every k-th val view")
    parser.add_argument("--all-at-end", action="store_true", help="score every view at the end")
    args = parser.parse_args()
    config = lego(args.preset)
    config = replace(config, train=replace(config.train, max_seconds=args.seconds))
    trial = Trial(config)
    print(f"compiled in {trial.compile_seconds:.1f} s")
    count = len(trial.held_out.pixels)
    views, rows = range(0, min(count, 85), args.every), []
    marks = [mark for mark in MARKS if mark < args.seconds]
    for mark in [*marks, args.seconds]:
        metrics = trial.train(mark, config.train.num_steps)
        scores = trial.psnrs(views)
        kept = metrics.get("kept", 1.0) * config.train.rays_per_step
        rows.append(
            {
                "seconds": round(trial.seconds, 2),
                "step": trial.step,
                "psnr": float(np.mean(scores)),
                "worst": min(scores),
                "train_psnr": float(-10 * np.log10(metrics["mse"])),
                "rays_per_step": round(kept),
                "samples_per_step": round(metrics.get("samples", 0)),
            }
        )
        row = rows[-1]
        print(
            f"{row['seconds']:7.1f} s  step {row['step']:6d}  {row['psnr']:6.2f} dB  "
            f"worst {row['worst']:6.2f} dB  {row['rays_per_step']:6d} rays per step",
            flush=True,
        )
        if trial.step >= config.train.num_steps:
            break
    figures = {
        "protocol": f"{config.data.scene} at {trial.size_hw[0]}x{trial.size_hw[1]}, split "
        f"{config.eval.split}, views {views.start}, {views.step}, ..., {views[-1]}, white "
        "background, float32, mean of per-image PSNR",
        "compile_seconds": round(trial.compile_seconds, 2),
        "planned_mib": trial.planned_mib,
        "curve": rows,
    }
    if args.all_at_end:
        scores = trial.psnrs(range(count))
        figures["all_views"] = {"mean": float(np.mean(scores)), "worst": min(scores)}
        print(f"all {count} views: {np.mean(scores):.2f} dB, worst {min(scores):.2f} dB")
    figures["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    write_record(Path(__file__), figures, {}, name=f"time_to_psnr_{args.preset}")


if __name__ == "__main__":
    main()
