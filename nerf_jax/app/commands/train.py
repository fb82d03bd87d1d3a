"""``run.py train``: train a scene, evaluate it, render a video, write a report."""

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import jax
import numpy as np

from nerf_jax import config as configs
from nerf_jax import data, methods
from nerf_jax.app.commands.options import OUTPUT, parse, peek, pick, steps_in, tyro
from nerf_jax.app.commands.view import PORT, keep_open, live_viewer, load_viewer
from nerf_jax.app.evaluate import evaluate
from nerf_jax.app.fit import fit, training_dataset
from nerf_jax.app.page import write_page
from nerf_jax.app.processes import ALONE, Group
from nerf_jax.app.progress import duration, say, say_notes, track
from nerf_jax.app.rendezvous import Rendezvous, join
from nerf_jax.app.report import write_curves, write_report
from nerf_jax.app.runs import Clock, Run, latest_run, new_run
from nerf_jax.app.scene_cameras import SceneCameras
from nerf_jax.app.trained import Trained
from nerf_jax.app.video import render_video
from nerf_jax.config import Config, TrainConfig
from nerf_jax.config.serialization import from_dict, to_dict
from nerf_jax.data.files import remove_unfinished
from nerf_jax.data.memory import describe_bytes, free_bytes, peak_bytes
from nerf_jax.data.scene import Scene, Split
from nerf_jax.devices import device_name, memory_gib, on_this_process, ray_mesh
from nerf_jax.render import image_renderer
from nerf_jax.train import TrainState
from nerf_jax.types import Model


@dataclass(frozen=True)
class TrainArgs:
    """Train a scene, evaluate it on held-out views, and render a video around it."""

    settings: Annotated[Config, tyro.conf.arg(name="")]
    config: str = "bricks.py"
    """A config file: a path, or the name of a packaged one."""
    output: Annotated[Path | None, OUTPUT] = None
    """The run's folder. [default: outputs/<config>/<time>]"""
    resume: bool = False
    """Continue the run in --output, or this config's newest run."""
    page: bool = True
    """Write the scene as a web page, if one can hold it: scene.html."""
    view: bool = False
    """Show the training in the browser; the page stays open until Ctrl-C."""
    port: int = PORT
    """The port of that page."""
    processes: Annotated[Rendezvous, tyro.conf.arg(name="")] = field(default_factory=Rendezvous)


@dataclass(frozen=True)
class _Duration:
    """The options that limit training, with the time of most configs for a CPU."""

    train: TrainConfig = field(default_factory=lambda: TrainConfig(max_seconds=600.0))

    def num_steps(self) -> float:
        """The number of steps that this CPU has time for."""
        seconds = self.train.max_seconds
        return min(self.train.num_steps, np.inf if seconds is None else steps_in(seconds))


def train(arguments: list[str]) -> int:
    """Run the command."""
    asks_for_help = {"-h", "--help"} & set(arguments)
    with ALONE if asks_for_help else join(pick(Rendezvous, arguments)) as group:
        return _train(arguments, group)


def _train(arguments: list[str], group: Group) -> int:
    run, args = _parse(arguments, group)
    config, port = args.settings, args.port if args.view else None
    if port is not None and len(group.names) > 1:
        raise ValueError("--view shows the training of one process: leave it out, or the others")
    group.require_same({"jax": jax.__version__} | to_dict(config))
    group.require_shared(run.folder)
    resume = _check_run(run, config, args.resume)
    if port is not None:
        load_viewer(port)  # a missing package is an error before training, not after

    say(f"config {config.name} on {device_name()}" + (f": {config.note}" if config.note else ""))
    if not data.is_local(config.data):
        group.from_first(lambda: bool(data.load(config.data)))  # one process downloads
    scene = data.load(config.data)
    split = scene.split("train", track)
    held_out = scene.split(config.eval.split, track) if config.eval.split in scene.loaders else None
    config, notes = _resolve(config, split, held_out)
    dataset, model = training_dataset(split, config), methods.build(config, split.log_exposure)
    _print_summary(scene, split, held_out, model, notes)
    all_cameras = SceneCameras.of(
        scene, {"train": split} | ({config.eval.split: held_out} if held_out else {})
    )
    if resume and run.setting_file.is_file():
        SceneCameras.load(run.setting_file).require_same(all_cameras, run.folder)
    if len(group.names) > 1:
        step = run.checkpoints.latest()
        group.require_same({"data (checksum)": _checksum(split), "newest checkpoint": step})
    if group.is_first:
        _begin(run, config, all_cameras, resume=resume)
    renderer = image_renderer(model.render, config.eval.rays_per_chunk)

    def make_scene(state: TrainState, clock: Clock | None = None) -> Trained:
        return Trained(run, config, model, state, clock or Clock(), all_cameras, renderer)

    with live_viewer(port, config, model, split, make_scene) as page:
        fitted = fit(
            *(run, config, model, dataset, held_out.dataset if held_out else None, ray_mesh()),
            resume=resume,
            callback=page.scene_state if page else None,
            group=group,
        )
        if group.is_first:
            write_curves(run)
        say(f"trained {int(fitted.state.step)} steps in {duration(fitted.clock.train_seconds)}")
        if fitted.interrupted_by is not None:
            say(f"saved; continue with: run.py --output {run.folder} --resume")
            return 128 + fitted.interrupted_by
        if page:
            page.scene_state.finish(fitted.state)
        trained = make_scene(on_this_process(fitted.state), fitted.clock)
        _write_outputs(trained, held_out, group, page=args.page)
        _say_peak(config)
        if page:
            keep_open()
    return 0


def _parse(arguments: list[str], group: Group) -> tuple[Run, TrainArgs]:
    """The run, and the options over the defaults of its config file or, resumed, of itself."""
    first = peek(arguments)
    num_steps = group.from_first(pick(_Duration, arguments).num_steps)
    base = configs.load(first.config, jax.default_backend(), memory_gib(), num_steps)
    run = Run(first.output) if first.output else None
    group.require_same({"--resume": first.resume})
    if first.resume:
        # As process 0 sees it: whether all see its files is checked next.
        run = Run(Path(group.from_first(lambda: str((run or latest_run(base.name)).folder))))
        base = from_dict(Config, group.from_first(lambda: to_dict(run.config())))
    args = parse(TrainArgs, arguments, TrainArgs(base, first.config))
    folder = (run or new_run(args.settings.name)).folder
    return Run(Path(group.from_first(lambda: str(folder)))), args


def _check_run(run: Run, config: Config, resume: bool) -> bool:
    """Whether there is a checkpoint to continue from.

    Raises:
        ValueError: there is one without --resume, or its method differs from the config's.
    """
    step = run.checkpoints.latest()
    if step is None:
        return False
    if not resume:
        raise ValueError(
            f"{run.folder} already holds a run, at step {step}: add --resume to continue it, "
            "or name another folder by --output"
        )
    saved, asked = to_dict(run.config().model), to_dict(config.model)
    for name in saved.keys() | asked.keys():
        if saved.get(name) != asked.get(name):
            raise ValueError(
                f"model.{name} is {asked.get(name)!r}, but the run in {run.folder} began with "
                f"{saved.get(name)!r}: keep its value, or begin a new run"
            )
    return True


def _resolve(
    config: Config, split: Split, held_out: Split | None
) -> tuple[Config, tuple[str, ...]]:
    """The config with what it leaves to the photos, and a line about each choice."""
    model, notes = methods.resolve(config.model, split.dataset._replace(depth=split.depth))
    if model.learns_depth and split.depth is None and not config.data.plane_sweep:
        notes += ("no sparse points are known to be seen in a photo: depths are not learned from",)
    files = [
        each.dataset.pixels.filename
        for each in (split, held_out)
        if each and isinstance(each.dataset.pixels, np.memmap)
    ]
    if files:
        # Saved with the config, as a resumed run must not depend on what is free then.
        memory = config.data.memory or describe_bytes(free_bytes())
        config = replace(config, data=replace(config.data, memory=memory))
        notes += (f"data.memory {memory}: pixels are read from {', '.join(map(str, files))}",)
    return replace(config, model=model), notes


def _print_summary(
    scene: Scene, split: Split, held_out: Split | None, model: Model, notes: Sequence[str]
) -> None:
    def images(split: Split) -> str:
        count, height, width, channels = split.dataset.pixels.shape
        size = split.dataset.pixels.nbytes / 2**20
        alpha = " with alpha" if channels == 4 else ""
        return f"{count} images of {width}x{height}{alpha}, {size:,.0f} MiB"

    say(f"scene {scene.name} ({scene.source}): {images(split)} to train on")
    say_notes((*scene.notes, *notes))
    say(f"  held out: {images(held_out)}" if held_out else "  held out: nothing")
    cameras, size_hw = split.dataset.cameras, split.dataset.size_hw
    shapes = jax.eval_shape(lambda key: model.init(key, cameras, size_hw)[0], jax.random.key(0))
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
    say(f"model: {count:,} parameters")


def _checksum(split: Split) -> int:
    """Of all that is in memory: neither of files that are mapped, nor of depths found since."""
    leaves = [x for x in jax.tree.leaves(split.dataset) if not isinstance(x, np.memmap)]
    return functools.reduce(
        lambda total, leaf: zlib.crc32(np.ascontiguousarray(leaf).data, total), leaves, 0
    )


def _begin(run: Run, config: Config, all_cameras: SceneCameras, *, resume: bool) -> None:
    """Write the files that a run has before its first step."""
    remove_unfinished(run.folder)
    run.write_json("config.json", to_dict(config))
    all_cameras.save(run.setting_file)
    say(f"run {run.folder}" + (f", resumed at step {run.checkpoints.latest()}" if resume else ""))
    if not resume:
        run.forget_metrics_after(-1)


def _write_outputs(scene: Trained, held_out: Split | None, group: Group, *, page: bool) -> None:
    """Evaluate the scene, render its video, write its page and its report, and print all paths.

    All processes evaluate and render, each some views and frames; process 0 does the rest.
    """
    config, run = scene.config, scene.run
    written = [run.folder / "curves.png"]
    if held_out is None:
        say(f"no {config.eval.split} split: nothing to evaluate on")
    else:
        written += evaluate(scene, held_out, group)
    if scene.all_cameras.splits:
        if config.optimizer.pose_learning_rate:
            _print_pose_changes(scene)
        if config.render.num_frames:
            written += _render_video(scene, group)
        if page and group.is_first:
            written += _write_page(scene)
    if held_out is not None and group.is_first:
        written.append(write_report(run))  # last, as it contains the video and links the page
    say("everything is in", run.folder)
    for path in written:
        say("  ", path)


def _say_peak(config: Config) -> None:
    peak, limit = peak_bytes(), config.data.memory_bytes
    if peak is not None:
        say(f"peak memory of the process: {describe_bytes(peak)}")
    if peak is not None and limit is not None and peak > limit:
        say(
            f"that is more than data.memory {config.data.memory}, of which photos take a quarter: "
            "train.rays_per_step and eval.rays_per_chunk are what else takes memory"
        )


def _render_video(scene: Trained, group: Group) -> list[Path]:
    """The files of the run's video; none, with the reason printed, if its path is not possible."""
    try:
        return render_video(scene, scene.config.render, folder=scene.run.folder, group=group)
    except ValueError as error:
        say(f"no video: {error}")
        return []


def _write_page(scene: Trained) -> list[Path]:
    """Write the scene as a web page, if one can hold it."""
    path = scene.run.folder / "scene.html"
    path.unlink(missing_ok=True)  # that of an earlier step
    try:
        return [write_page(scene, path)]
    except ValueError as error:
        say(f"no web page of the scene: {error}")
        return []


def _print_pose_changes(scene: Trained) -> None:
    """Print how far the learned cameras are from the given ones."""
    names = scene.all_cameras.splits["train"].names
    given, learned = (
        np.asarray(cameras.world_from_camera, float)
        for cameras in (scene.all_cameras.splits["train"].cameras, scene.cameras())
    )
    # |A - B| = 2 sqrt(2) sin(angle / 2) for rotations, exact for small angles too.
    chords = np.linalg.norm(learned[:, :, :3] - given[:, :, :3], axis=(1, 2))
    degrees = np.degrees(2 * np.arcsin(np.clip(chords / 8**0.5, 0, 1)))
    distances = np.linalg.norm(learned[:, :, 3] - given[:, :, 3], axis=1)
    say(
        f"cameras turned by {degrees.mean():.2f} degrees and moved by {distances.mean():.4f} "
        f"on average, {names[np.argmax(degrees)]} the most by {degrees.max():.2f}, "
        f"{names[np.argmax(distances)]} by {distances.max():.4f}"
    )
