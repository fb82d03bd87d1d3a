"""The command line: train, evaluate, render, prepare photos, and write ray datasets.

Every field of :class:`nerf_jax.config.Config` is an option of its name.
"""

import argparse
import dataclasses
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jax
import numpy as np

from nerf_jax import config as configs
from nerf_jax import data, model
from nerf_jax.config import Config, DataConfig, RenderConfig
from nerf_jax.data.scene import Scene, Split
from nerf_jax.devices import ray_mesh
from nerf_jax.evaluate import device_name, render_path, results, score_views
from nerf_jax.export import require
from nerf_jax.fit import Clock, Fitted, fit, learned_from
from nerf_jax.plain import near_miss, to_dict
from nerf_jax.prepare import Settings, prepare_scene
from nerf_jax.progress import duration, say
from nerf_jax.render import ImageRenderer, image_renderer
from nerf_jax.runs import Run, latest_run, new_run
from nerf_jax.train import TrainState, init_state, make_optimizer
from nerf_jax.types import Cameras

tyro = require("tyro", "nerf_jax[app]")

T = TypeVar("T")

USAGE = """\
nerf_jax: neural radiance fields in pure JAX

  run.py [train] [--config lego.py] [--output DIR] [--resume]   train, evaluate, render
  run.py eval RUN [--split val] [--every K]                     PSNR, SSIM, side-by-side pictures
  run.py render RUN                                             orbit video and stills
  run.py prepare PHOTOS --out DIR                               photos or a video to a scene
  run.py rays OUT [--config lego.py] [--split train]            a split as a ray dataset

Without a config, the built-in scene. `run.py COMMAND --help` lists every option."""


@dataclass(frozen=True)
class TrainArgs:
    """Train a scene, evaluate it on held-out views, and render a turn around it."""

    settings: Annotated[Config, tyro.conf.arg(name="")]
    config: str = "bricks.py"
    """A config file: a path, or the name of a packaged one."""
    output: Path | None = None
    """The run's folder. [default: outputs/<config>/<time>]"""
    resume: bool = False
    """Go on with the run in --output, or with this config's latest."""


@dataclass(frozen=True)
class EvalArgs:
    """Score a run on held-out views: PSNR, SSIM, results.json and side-by-side pictures."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    split: str = "val"
    """Which images."""
    every: int = 1
    """Each so manieth image only."""
    rays_per_chunk: int = 4096
    """Rays rendered at once: bounds the memory."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)


@dataclass(frozen=True)
class RenderArgs:
    """Render a turn around the scene of a run: video and stills, colour and depth."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    render: Annotated[RenderConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RenderConfig
    )
    data: DataConfig = dataclasses.field(default_factory=DataConfig)


@dataclass(frozen=True)
class PrepareArgs:
    """Find where photos were taken, with COLMAP, and write a scene that can be trained on."""

    photos: tyro.conf.Positional[Path]
    """A folder of photos, or a video."""
    out: Path
    """The scene's folder. If it was begun before from the same photos, that goes on."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=Settings
    )


@dataclass(frozen=True)
class RaysArgs:
    """Write a split as a ray dataset: one row of origin, direction and colour for each pixel."""

    settings: Annotated[Config, tyro.conf.arg(name="")]
    out: tyro.conf.Positional[Path]
    """The file to write, such as rays/train.npz."""
    config: str = "bricks.py"
    """A config file, for its data: a path, or the name of a packaged one."""
    split: str = "train"
    """Which images."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the return value is the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": train,
        "eval": evaluate,
        "render": render,
        "prepare": prepare,
        "rays": rays,
    }
    if arguments and arguments[0] in ("-h", "--help", "help"):
        say(USAGE)
        return 0
    command = "train" if not arguments or arguments[0].startswith("-") else arguments.pop(0)
    if command not in commands:
        known = near_miss(command, commands)
        say_error(f"no command {command!r}; there are {', '.join(commands)}.{known}")
        return 2
    _quiet_libraries()
    try:
        return commands[command](arguments)
    except KeyboardInterrupt:
        say_error("interrupted")
        return 130
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("NERF_JAX_TRACEBACK"):
            raise
        say_error(str(error))
        return 1


def say_error(message: str) -> None:
    """One line, to standard error."""
    print(f"error: {message}", file=sys.stderr, flush=True)


def _quiet_libraries() -> None:
    """Errors are told in one line of our own, and compilations are kept for the next run."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="orbax")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nerf_jax" / "xla"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache))


def _parse(kind: type[T], arguments: list[str], default: T) -> T:
    """The command line over a default; mistakes end the program with the near misses named."""
    return tyro.cli(
        kind,
        prog="run.py",
        args=arguments,
        default=default,
        config=(tyro.conf.AvoidSubcommands,),
    )


def _peek(arguments: list[str]) -> argparse.Namespace:
    """The options that decide where all the other options' defaults come from."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", default="bricks.py")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_known_args(arguments)[0]


def train(arguments: list[str]) -> int:
    """``run.py train``: see :class:`TrainArgs`."""
    peek = _peek(arguments)
    base = configs.load(peek.config, jax.default_backend())
    run = Run(peek.output) if peek.output else None
    if peek.resume:
        run = run or latest_run(base.name)
        base = run.config()
    args = _parse(TrainArgs, arguments, TrainArgs(base, peek.config))
    run, config = run or new_run(args.settings.name), args.settings
    resume = _check_run(run, config, args.resume)

    say(f"config {config.name} on {device_name()}" + (f": {config.note}" if config.note else ""))
    scene = data.load(config.data)
    split = scene.split("train")
    held_out = scene.split(config.eval.split) if config.eval.split in scene.loaders else None
    dataset = learned_from(split, config)
    config = dataclasses.replace(config, num_photos=len(split.dataset.pixels))
    method = model.build(config)
    _describe(scene, split, held_out, method.init)

    run.write_json("config.json", to_dict(config))
    say(f"run {run.folder}" + (f", resumed at step {run.checkpoints.latest()}" if resume else ""))
    if not resume:
        run.forget_metrics_after(-1)
    fitted = fit(
        run,
        config,
        method,
        dataset,
        held_out.dataset if held_out else None,
        ray_mesh(),
        resume=resume,
    )
    run.draw_curves()
    step = int(fitted.state.step)
    say(f"trained {step} steps in {duration(fitted.clock.train_seconds)}")
    if fitted.interrupted_by is not None:
        say(f"saved; go on with: run.py --output {run.folder} --resume")
        return 128 + fitted.interrupted_by
    _look(run, config, method.render, fitted, split, held_out)
    return 0


def _check_run(run: Run, config: Config, resume: bool) -> bool:
    """Whether there is a checkpoint to go on from.

    Raises:
        ValueError: there is one but nobody asked to resume it, or it is of another method.
    """
    step = run.checkpoints.latest()
    if step is None:
        return False
    if not resume:
        raise ValueError(
            f"{run.folder} already holds a run, at step {step}: add --resume to go on with it, "
            "or name another folder by --output"
        )
    saved, asked = to_dict(run.config().model), to_dict(config.model)
    for name in saved.keys() | asked.keys():
        if saved.get(name) != asked.get(name):
            raise ValueError(
                f"model.{name} is {asked.get(name)!r}, but the run in {run.folder} was begun "
                f"with {saved.get(name)!r}: leave it as it was, or begin a new run"
            )
    return True


def _describe(
    scene: Scene, split: Split, held_out: Split | None, init: Callable[[jax.Array], Any]
) -> None:
    def summary(part: Split) -> str:
        count, height, width, channels = part.dataset.pixels.shape
        size = part.dataset.pixels.nbytes / 2**20
        alpha = " with alpha" if channels == 4 else ""
        return f"{count} images of {width}x{height}{alpha}, {size:,.0f} MiB"

    say(f"scene {scene.name} ({scene.source}): {summary(split)} to learn from")
    for note in scene.notes:
        say(f"  {note}")
    say(f"  held out: {summary(held_out)}" if held_out else "  held out: nothing")
    shapes = jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))[0])
    count = sum(int(np.prod(leaf.shape)) for leaf in shapes)
    say(f"model: {count:,} parameters")


def _look(
    run: Run,
    config: Config,
    render_rays: Callable[..., Any],
    fitted: Fitted,
    split: Split,
    held_out: Split | None,
) -> None:
    """What comes after training: scores, pictures, the video, and where they are."""
    renderer = image_renderer(render_rays, config.eval.rays_per_chunk)
    written: list[Path] = [run.folder / "curves.png"]
    if held_out is None:
        say(f"no {config.eval.split} split: nothing to evaluate on")
    else:
        written += _evaluate(run, config, renderer, fitted.state, fitted.clock, held_out)
    if config.render.num_frames and isinstance(split.dataset.cameras, Cameras):
        written += _render(run, config, renderer, fitted.state, split)
    say("everything is in", run.folder)
    for path in written:
        say("  ", path)


def _evaluate(
    run: Run,
    config: Config,
    renderer: ImageRenderer,
    state: TrainState,
    clock: Clock,
    held_out: Split,
) -> list[Path]:
    images = run.folder / "images" / config.eval.split
    scores = score_views(renderer, state, held_out, config, images)
    outcome = results(scores, held_out, config, int(state.step), vars(clock))
    for score in scores:
        say(f"  {score.name}: PSNR {score.psnr:.2f} dB, SSIM {score.ssim:.4f}")
    say(
        f"{config.eval.split}: PSNR {outcome['psnr']:.2f} dB, SSIM {outcome['ssim']:.4f} "
        f"(mean of {len(scores)} views)"
    )
    return [run.write_json("results.json", outcome), images]


def _render(
    run: Run, config: Config, renderer: ImageRenderer, state: TrainState, split: Split
) -> list[Path]:
    cameras = split.dataset.cameras
    if not isinstance(cameras, Cameras):
        raise ValueError("a ray dataset says nothing of cameras: there is no way to fly past them")
    height, width = split.dataset.pixels.shape[1:3]
    return render_path(run, renderer, state, cameras, (height, width), config)


def _restore(run: Run, config: Config) -> tuple[ImageRenderer, TrainState, Clock]:
    method = model.build(config)
    blank = init_state(method, make_optimizer(config.optimizer), 0, ray_mesh())
    checkpoints = run.checkpoints
    state = checkpoints.restore(blank)
    clock = Clock(**checkpoints.about()["clock"])
    checkpoints.close()
    say(f"run {run.folder} at step {int(state.step)}, on {device_name()}")
    return image_renderer(method.render, config.eval.rays_per_chunk), state, clock


def evaluate(arguments: list[str]) -> int:
    """``run.py eval``: see :class:`EvalArgs`."""
    run = Run(_parse(EvalArgs, arguments, EvalArgs(tyro.MISSING)).run)
    config = run.config()
    default = EvalArgs(
        run.folder, config.eval.split, config.eval.every, config.eval.rays_per_chunk, config.data
    )
    args = _parse(EvalArgs, arguments, default)
    wanted = configs.EvalConfig(args.split, args.every, args.rays_per_chunk)
    config = dataclasses.replace(config, data=args.data, eval=wanted)
    held_out = data.load(config.data).split(args.split)
    renderer, state, clock = _restore(run, config)
    for path in _evaluate(run, config, renderer, state, clock, held_out):
        say("  ", path)
    return 0


def render(arguments: list[str]) -> int:
    """``run.py render``: see :class:`RenderArgs`."""
    run = Run(_parse(RenderArgs, arguments, RenderArgs(tyro.MISSING)).run)
    config = run.config()
    args = _parse(RenderArgs, arguments, RenderArgs(run.folder, config.render, config.data))
    if not args.render.num_frames:
        raise ValueError("--num-frames is 0: nothing to render")
    config = dataclasses.replace(config, data=args.data, render=args.render)
    split = data.load(config.data).split("train")
    renderer, state, _ = _restore(run, config)
    for path in _render(run, config, renderer, state, split):
        say("  ", path)
    return 0


def prepare(arguments: list[str]) -> int:
    """``run.py prepare``: see :class:`PrepareArgs`."""
    args = _parse(PrepareArgs, arguments, PrepareArgs(tyro.MISSING, tyro.MISSING))
    prepare_scene(args.photos, args.out, args.settings)
    say("everything is in", args.out)
    for name in ("cameras.png", "transforms.json", "sparse_points.ply", "prepare.json"):
        say("  ", args.out / name)
    say(f"train with: run.py --config capture.py --data.root {args.out}")
    return 0


def rays(arguments: list[str]) -> int:
    """``run.py rays``: see :class:`RaysArgs`."""
    peek = _peek(arguments)
    base = configs.load(peek.config, jax.default_backend())
    args = _parse(RaysArgs, arguments, RaysArgs(base, tyro.MISSING, peek.config))
    split = data.load(args.settings.data).split(args.split)
    data.save_rays(args.out, split, args.settings.data.background)
    count = int(np.prod(split.dataset.pixels.shape[:3]))
    say(f"{args.out}: {count:,} rays of {len(split.names)} images")
    return 0
