"""``run.py eval``: score a run on held-out views."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from nerf_jax import config as configs
from nerf_jax import data
from nerf_jax.app import trained
from nerf_jax.app.commands.options import MISSING, parse, tyro
from nerf_jax.app.evaluate import evaluate
from nerf_jax.app.progress import say, say_notes
from nerf_jax.app.report import write_report
from nerf_jax.app.runs import Run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.config import DataConfig


@dataclass(frozen=True)
class EvalArgs:
    """Score a run on held-out views: PSNR, SSIM, pictures, and a report on one page."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    split: str = "val"
    """The split to score."""
    every: int = 1
    """Score every k-th image only."""
    rays_per_chunk: int = 4096
    """Rays rendered at once; fewer need less memory."""
    data: DataConfig = field(default_factory=DataConfig)


def eval_run(arguments: list[str]) -> int:
    """Run the command."""
    run = Run(parse(EvalArgs, arguments, EvalArgs(MISSING)).run)
    config = run.config()
    default = EvalArgs(
        run.folder, config.eval.split, config.eval.every, config.eval.rays_per_chunk, config.data
    )
    args = parse(EvalArgs, arguments, default)
    settings = configs.EvalConfig(args.split, args.every, args.rays_per_chunk)
    config = replace(config, data=args.data, eval=settings)
    dataset, scene = data.load(config.data), trained.load(run, config)
    say_notes(dataset.notes)
    held_out = dataset.split(args.split)
    found = SceneCameras.of(dataset, {args.split: held_out})
    scene.all_cameras.require_same(found, run.folder)
    written = evaluate(scene, held_out)
    for path in [*written, write_report(run)]:
        say("  ", path)
    return 0
