"""``run.py train``: learn a scene, score it on held-out views, and film it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import numpy as np

from nerf_jax import config as configs
from nerf_jax import data, methods
from nerf_jax.app.commands.options import OUTPUT, parse, peek, tyro
from nerf_jax.app.commands.view import PORT, load_viewer, look_on, stay
from nerf_jax.app.evaluate import evaluate
from nerf_jax.app.fit import fit, training_dataset
from nerf_jax.app.progress import duration, say
from nerf_jax.app.report import write_report
from nerf_jax.app.runs import Clock, Run, latest_run, new_run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.app.trained import Trained
from nerf_jax.app.video import render_video
from nerf_jax.config import Config
from nerf_jax.config.serialization import to_dict
from nerf_jax.data.scene import Scene, Split
from nerf_jax.devices import device_name, ray_mesh
from nerf_jax.render import image_renderer
from nerf_jax.train import TrainState


@dataclass(frozen=True)
class TrainArgs:
    """Train a scene, evaluate it on held-out views, and render a turn around it."""

    settings: Annotated[Config, tyro.conf.arg(name="")]
    config: str = "bricks.py"
    """A config file: a path, or the name of a packaged one."""
    output: Annotated[Path | None, OUTPUT] = None
    """The run's folder. [default: outputs/<config>/<time>]"""
    resume: bool = False
    """Go on with the run in --output, or with this config's latest."""
    view: bool = False
    """Look on in the browser; the page stays open until Ctrl-C."""
    port: int = PORT
    """Of that page."""


def train(arguments: list[str]) -> int:
    """Run the command."""
    asked = peek(arguments)
    base = configs.load(asked.config, jax.default_backend())
    run = Run(asked.output) if asked.output else None
    if asked.resume:
        run = run or latest_run(base.name)
        base = run.config()
    args = parse(TrainArgs, arguments, TrainArgs(base, asked.config))
    run, config = run or new_run(args.settings.name), args.settings
    resume = _check_run(run, config, args.resume)
    port = args.port if args.view else None
    if port is not None:
        load_viewer(port)  # what is missing is missed before anything is begun

    say(f"config {config.name} on {device_name()}" + (f": {config.note}" if config.note else ""))
    scene = data.load(config.data)
    split = scene.split("train")
    held_out = scene.split(config.eval.split) if config.eval.split in scene.loaders else None
    splits = {"train": split} | ({config.eval.split: held_out} if held_out else {})
    dataset = training_dataset(split, config)
    method = methods.build(config)
    _describe(scene, split, held_out, method)

    run.write_json("config.json", to_dict(config))
    setting = SceneCameras.of(scene, splits)
    setting.save(run.setting_file)
    say(f"run {run.folder}" + (f", resumed at step {run.checkpoints.latest()}" if resume else ""))
    if not resume:
        run.forget_metrics_after(-1)
    renderer = image_renderer(method.render, config.eval.rays_per_chunk)

    def reopen(state: TrainState, clock: Clock | None = None) -> Trained:
        return Trained(run, config, method, state, clock or Clock(), setting, renderer)

    unseen = held_out.dataset if held_out else None
    with look_on(port, config, method, (split, setting), reopen) as page:
        callback = page.learning if page else None
        fitted = fit(
            run, config, method, dataset, unseen, ray_mesh(), resume=resume, callback=callback
        )
        run.draw_curves()
        step = int(fitted.state.step)
        say(f"trained {step} steps in {duration(fitted.clock.train_seconds)}")
        if fitted.interrupted_by is not None:
            say(f"saved; go on with: run.py --output {run.folder} --resume")
            return 128 + fitted.interrupted_by
        if page:
            page.learning.finish(fitted.state)
        _look(reopen(fitted.state, fitted.clock), held_out)
        if page:
            stay()
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


def _describe(scene: Scene, split: Split, held_out: Split | None, method: Model) -> None:
    def summary(part: Split) -> str:
        count, height, width, channels = part.dataset.pixels.shape
        size = part.dataset.pixels.nbytes / 2**20
        alpha = " with alpha" if channels == 4 else ""
        return f"{count} images of {width}x{height}{alpha}, {size:,.0f} MiB"

    say(f"scene {scene.name} ({scene.source}): {summary(split)} to learn from")
    for note in scene.notes:
        say(f"  {note}")
    say(f"  held out: {summary(held_out)}" if held_out else "  held out: nothing")
    dataset = split.dataset
    shapes = jax.eval_shape(
        lambda key: method.init(key, dataset.cameras, dataset.size_hw)[0], jax.random.key(0)
    )
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
    say(f"model: {count:,} parameters")


def _look(learned: Trained, held_out: Split | None) -> None:
    """What comes after training: scores, pictures, the video, and where they are."""
    config, folder = learned.config, learned.run.folder
    written = [folder / "curves.png"]
    if held_out is None:
        say(f"no {config.eval.split} split: nothing to evaluate on")
    else:
        written += evaluate(learned, held_out)
    if learned.all_cameras.splits:
        _tell_motions(learned)
        if config.render.num_frames:
            written += render_video(learned, config.render, folder=folder)
    if held_out is not None:
        written.append(write_report(learned.run))  # last, as it shows the video too
    say("everything is in", folder)
    for path in written:
        say("  ", path)


def _tell_motions(learned: Trained) -> None:
    """How far the cameras went from where they were given, if they were to be learned."""
    if not learned.config.optimizer.pose_learning_rate:
        return
    names = learned.all_cameras.splits["train"].names
    given, found = (
        np.asarray(cameras.world_from_camera, float)
        for cameras in (learned.all_cameras.splits["train"].cameras, learned.cameras())
    )
    cosines = (np.einsum("nij,nij->n", given[:, :, :3], found[:, :, :3]) - 1) / 2
    turns = np.arccos(np.clip(cosines, -1, 1))
    moves = np.linalg.norm(found[:, :, 3] - given[:, :, 3], axis=1)
    turned, moved = names[np.argmax(turns)], names[np.argmax(moves)]
    say(
        f"cameras turned by {np.degrees(turns.mean()):.2f} degrees and moved by {moves.mean():.4f} "
        f"on average, {turned} the most by {np.degrees(turns.max()):.2f}, {moved} by "
        f"{moves.max():.4f}"
    )
