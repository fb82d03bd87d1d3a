"""The training loop on the host: compiled calls; between them reports, validation, checkpoints."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from nerf_jax.app.advice import advise
from nerf_jax.app.checkpoint import Checkpoints
from nerf_jax.app.dense_depths import densify
from nerf_jax.app.photo_buffer import PhotoBuffer, WholePhotos, load_photos
from nerf_jax.app.processes import ALONE, Group
from nerf_jax.app.programs import TrainingPrograms
from nerf_jax.app.progress import Progress, duration, say
from nerf_jax.app.runs import Clock, Run, clock_and_photos
from nerf_jax.config import Config, TrainConfig
from nerf_jax.config.serialization import to_dict
from nerf_jax.data.memory import PhotoBudget, photo_budget
from nerf_jax.data.scene import Split
from nerf_jax.devices import REPLICATED
from nerf_jax.methods import make_optimizer
from nerf_jax.metrics import psnr
from nerf_jax.train import TrainState, init_state
from nerf_jax.types import Dataset, Model


@dataclass(frozen=True)
class FitResult:
    """The result of training."""

    state: TrainState
    clock: Clock
    interrupted_by: int | None = None
    """The signal that stopped it early."""


class TrainingStatus(NamedTuple):
    """The status of training between two compiled calls."""

    state: TrainState
    """The next call overwrites it: copy the arrays that must outlive the callback."""
    step: int
    num_steps: int
    psnr: float | None
    """Of the last call's rays, dB; None before the first call."""
    val_psnr: float | None
    """Of held-out rays, dB; None before the first validation."""


TrainingCallback = Callable[[TrainingStatus], bool]
"""Called between compiled calls; training pauses while it returns False, and calls it again."""


def training_dataset(split: Split, config: Config) -> Dataset:
    """The dataset of a split, with depths only if the method learns from them: they take memory."""
    if not config.model.learns_depth:
        return split.dataset
    sweep = config.data.plane_sweep
    depth = densify(split.dataset, split.depth) if sweep else split.depth
    return split.dataset._replace(depth=depth)


def fit(
    run: Run,
    config: Config,
    model: Model,
    dataset: Dataset,
    held_out: Dataset | None,
    mesh: Mesh,
    *,
    resume: bool = False,
    callback: TrainingCallback | None = None,
    group: Group = ALONE,
) -> FitResult:
    """Train until the steps or the time of the config are used up.

    Args:
        run: receives the checkpoints and metrics.
        config: resolved.
        model: the config's method.
        dataset: the training images, on the host.
        held_out: the images of the validation PSNR.
        mesh: the devices.
        resume: continue from the run's newest checkpoint.
        callback: called before the first step and after every compiled call; training pauses
            while it returns False.
        group: the processes that the devices belong to; all of them call this.

    Raises:
        FloatingPointError: the loss or a parameter is no longer finite; the newest checkpoint is
            from before.
        OSError: a checkpoint could not be written.
    """
    settings = config.train
    count, height, width, _ = dataset.pixels.shape
    rays_per_epoch = count * height * width
    optimizer = make_optimizer(config.optimizer, rays_per_epoch / settings.rays_per_step)
    state = init_state(model, optimizer, dataset, mesh, seed=settings.seed)
    clock, checkpoints = Clock(), run.checkpoints
    if resume:
        state = checkpoints.restore(state)
        clock, _ = checkpoints.metadata(clock_and_photos)
        _say_devices(checkpoints.metadata(lambda saved: saved.get("num_devices")), mesh)
        if group.is_first:
            run.forget_metrics_after(int(state.step))
    sharding = NamedSharding(mesh, REPLICATED)
    budget = PhotoBudget(sys.maxsize, sys.maxsize)
    if config.data.memory is not None:
        budget = photo_budget(config.data)
    photos = load_photos(dataset, budget.train, sharding, seed=settings.seed)
    if held_out is not None and settings.validate_every:
        held_out = load_photos(held_out, budget.held_out, sharding).at(0)
    else:
        held_out = None
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        photos.at(int(state.step)),
    )
    programs = TrainingPrograms(config, model, optimizer, mesh, like, held_out)
    reporter = _Reporter(run, config, clock)
    loop = _Loop(config, programs, checkpoints, reporter, photos, state, callback, group)
    with _stop_signals() as stop:
        try:
            loop.run(stop)
            loop.save()
        finally:
            checkpoints.close()
    return FitResult(loop.state, clock, stop.agreed(group))


def _say_devices(before: object, mesh: Mesh) -> None:
    """Say that the run was on another number of devices."""
    if before is not None and before != mesh.size:
        say(
            f"resumed with another number of devices, {mesh.size} after {before}: sums have "
            "another order, so that the run is the same to rounding (and to the rays that are "
            "dropped, as each device has its own room for samples)"
        )


@dataclass
class _Stop:
    signal: int | None = None

    def agreed(self, group: Group) -> int | None:
        """A signal that any of the processes received."""
        return next((number for number in group.exchange(self.signal) if number is not None), None)


@contextlib.contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """The first Ctrl-C or SIGTERM requests a stop; the second one ends the program as usual."""
    stop = _Stop()
    # Python allows signal handlers in the main thread only.
    in_main_thread = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main_thread else ()
    previous = {number: signal.getsignal(number) for number in numbers}

    def request_stop(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        say(f"\n{signal.Signals(number).name}: stopping after this call, then saving")
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    for number in previous:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore()


@dataclass
class _Reporter:
    """Reports of training: lines of ``metrics.jsonl``, the progress line, and advice."""

    run: Run
    config: Config
    clock: Clock

    def __post_init__(self) -> None:
        self.val_psnr: float | None = None
        self._val_is_new = False
        self._reported_at = -np.inf
        self._calls: list[dict[str, np.ndarray]] = []
        self._seconds = 0.0
        self._advised: set[str] = set()

    def add_call(self, metrics: dict[str, np.ndarray], seconds: float) -> None:
        self._calls.append(metrics)
        self._seconds += seconds
        self.clock.train_seconds += seconds

    def add_validation(self, val_psnr: float | None) -> None:
        self.val_psnr, self._val_is_new = val_psnr, True

    def last_psnr(self) -> float | None:
        """The PSNR of the last call's rays in dB; None before the first call."""
        return _psnr(np.mean(self._calls[-1]["mse"])) if self._calls else None

    @property
    def seconds_left(self) -> float:
        """The training time until the config's limit; infinite without one."""
        limit = self.config.train.max_seconds
        return np.inf if limit is None else limit - self.clock.train_seconds

    def report(self, step: int, progress: Progress, *, is_last: bool) -> None:
        """Report the calls since the last report, if that was long enough ago."""
        settings, train_seconds = self.config.train, self.clock.train_seconds
        if train_seconds - self._reported_at < settings.report_every_seconds and not is_last:
            return
        mean = {
            name: float(np.mean(np.concatenate([call[name] for call in self._calls])))
            for name in self._calls[0]
        }
        steps_per_second = sum(len(call["loss"]) for call in self._calls) / self._seconds
        rays_per_second = steps_per_second * settings.rays_per_step * mean.get("kept", 1.0)
        record = {
            "step": step,
            "train_seconds": round(train_seconds, 3),
            **mean,
            "psnr": _psnr(mean["mse"]),
            "val_psnr": self.val_psnr if self._val_is_new else None,
            "rays_per_second": round(rays_per_second, 1),
        }
        self.run.add_metrics(record)
        seconds_to_go = (settings.num_steps - step) / steps_per_second
        eta = duration(max(0.0, min(seconds_to_go, self.seconds_left)))
        val = "" if self.val_psnr is None else f"  val {self.val_psnr:.2f} dB"
        progress.update(
            step,
            f"loss {record['loss']:.5f}  train {record['psnr']:.2f} dB{val}  "
            f"{rays_per_second:,.0f} rays/s  ETA {eta}",
        )
        for metric, message in advise(self.config, {**mean, "step": step}).items():
            if metric not in self._advised:
                say(message)
                self._advised.add(metric)
        self._reported_at = train_seconds
        self._calls, self._seconds, self._val_is_new = [], 0.0, False


def horizon(settings: TrainConfig, step: int, seconds: float) -> float:
    """The number of steps of all training, of which some took some seconds: the config's, or fewer
    if its time ends first.
    """
    if settings.max_seconds is None or not step:
        return settings.num_steps
    return min(settings.num_steps, step * settings.max_seconds / seconds)


@dataclass
class _Loop:
    """The calls of one session of training, and the work between them."""

    config: Config
    programs: TrainingPrograms
    checkpoints: Checkpoints
    reporter: _Reporter
    photos: WholePhotos | PhotoBuffer
    state: TrainState
    callback: TrainingCallback | None
    group: Group

    def __post_init__(self) -> None:
        self.step = int(self.state.step)

    def run(self, stop: _Stop) -> None:
        """Train until the end or a signal."""
        settings = self.config.train
        if self._finished():
            say(f"nothing left to train: step {self.step} of {settings.num_steps} is reached")
            return
        whole = min(settings.num_steps, self.photos.period)
        per_call = settings.steps_per_call or self.programs.steps_per_call(self.state, whole)
        self._run_callback(stop)
        with Progress("train", settings.num_steps) as progress:
            while not self._finished() and stop.agreed(self.group) is None:
                before = self.step
                in_period = self.photos.period - self.step % self.photos.period
                self._call(min(per_call, settings.num_steps - self.step, in_period))
                clock = self.reporter.clock  # that of process 0 decides on the end
                clock.train_seconds = self.group.exchange(clock.train_seconds)[0]
                if self._due(before, settings.validate_every):
                    self.reporter.add_validation(self.programs.validate(self.state))
                self._run_callback(stop)
                if self.group.is_first:
                    self.reporter.report(self.step, progress, is_last=self._finished())
                if self._due(before, settings.checkpoint_every) and not self._finished():
                    self.save()

    def save(self) -> None:
        """Begin a checkpoint of the state, if its parameters are finite."""
        if not all(jax.tree.leaves(_all_finite(self.state.params))):
            raise self._not_finite("a parameter", self.step)
        metadata = {
            "config": to_dict(self.config),
            "clock": vars(self.reporter.clock),
            "num_photos": len(self.programs.dataset.cameras.near),
            "num_devices": self.programs.mesh.size,
        }
        self.checkpoints.save(self.step, self.state, metadata)

    def _finished(self) -> bool:
        return self.step >= self.config.train.num_steps or self.reporter.seconds_left <= 0

    def _due(self, before: int, every: int) -> bool:
        """Whether the steps since ``before`` reached a multiple of ``every``, or the end."""
        return bool(every) and (before // every != self.step // every or self._finished())

    def _call(self, num_steps: int) -> None:
        """Run some steps at once; training time is the time of these calls alone."""
        start = time.perf_counter()
        steps = self.programs.train_steps(num_steps, self.state)
        compiled = time.perf_counter()
        self.reporter.clock.compile_seconds += compiled - start
        end = horizon(self.config.train, self.step, self.reporter.clock.train_seconds)
        self.state, metrics = steps(self.state, self.photos.at(self.step), np.float32(end))
        metrics = jax.device_get(metrics)  # the one wait for the device
        self.reporter.add_call(metrics, time.perf_counter() - compiled)
        finite = np.isfinite(metrics["loss"])
        if not finite.all():
            raise self._not_finite("the loss", self.step + int(np.argmin(finite)) + 1)
        self.step += num_steps

    def _run_callback(self, stop: _Stop) -> None:
        """Call the callback until it returns True."""
        if self.callback is None:
            return
        scores = self.reporter.last_psnr(), self.reporter.val_psnr
        status = TrainingStatus(self.state, self.step, self.config.train.num_steps, *scores)
        while not self.callback(status) and stop.signal is None:
            time.sleep(0.05)

    def _not_finite(self, name: str, step: int) -> FloatingPointError:
        self.checkpoints.close()  # an asynchronous one may not be finished yet
        latest = self.checkpoints.latest()
        none = "no checkpoint was made before"
        kept = none if latest is None else f"that of step {latest} is kept"
        return FloatingPointError(
            f"{name} is not finite at step {step}; {kept} in {self.checkpoints.folder}. A smaller "
            f"--optimizer.learning_rate (now {self.config.optimizer.learning_rate:g}) is the usual "
            "remedy"
        )


def _psnr(mse: float | np.floating) -> float:
    return float(psnr(jnp.float32(mse)))


@jax.jit
def _all_finite(params: object) -> object:
    return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)), params)
