"""The host's side of training: compile, call, report, validate, save, and stop when asked to."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from nerf_jax.app.advice import advise
from nerf_jax.app.checkpoint import Checkpoints
from nerf_jax.app.progress import Progress, duration, say
from nerf_jax.app.runs import Clock, Run
from nerf_jax.compositing import solid
from nerf_jax.config import Config
from nerf_jax.config.serialization import to_dict
from nerf_jax.data.scene import Split
from nerf_jax.devices import REPLICATED, split_evenly
from nerf_jax.methods import make_optimizer
from nerf_jax.metrics import psnr
from nerf_jax.train import (
    TrainState,
    TrainSteps,
    init_state,
    make_train_steps,
    make_validation,
)
from nerf_jax.types import Dataset, Metrics, Model


@dataclass(frozen=True)
class FitResult:
    """How training ended."""

    state: TrainState
    clock: Clock
    interrupted_by: int | None = None
    """The signal that ended it early."""


def training_dataset(split: Split, config: Config) -> Dataset:
    """The dataset of a split; with its depths, which take memory, only where they are asked for.

    Raises:
        ValueError: they are, and none is known.
    """
    if not config.model.learns_depth:
        return split.dataset
    if split.depth is None:
        raise ValueError(
            "model.depth_weight is above 0, but no file says which photo shows which sparse point: "
            "set it to 0, find the cameras with `run.py prepare`, or "
            "read a folder with COLMAP's own model, --data.format colmap"
        )
    return split.dataset._replace(depth=split.depth)


class TrainingStatus(NamedTuple):
    """What training looks like between two calls."""

    state: TrainState
    """The next call overwrites it: who keeps something copies it."""
    step: int
    num_steps: int
    psnr: float | None
    """Of the last call's rays, dB; None before the first."""
    val_psnr: float | None
    """Of held-out rays, dB; None before it is measured."""


TrainingCallback = Callable[[TrainingStatus], bool]
"""Called between compiled calls; training pauses while it returns False, and calls it again."""


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
) -> FitResult:
    """Train until the steps or the time of the config are used up.

    Args:
        run: where checkpoints and metrics go.
        config: resolved.
        model: the config's method.
        dataset: to learn from, on the host.
        held_out: for the validation score along the way.
        mesh: the devices.
        resume: go on from the run's newest checkpoint.
        callback: called before the first step and after every compiled call; training pauses
            while it returns False.

    Raises:
        FloatingPointError: the loss or a parameter is no longer finite; the newest checkpoint is
            from before.
        OSError: a checkpoint could not be written.
    """
    settings = config.train
    optimizer = make_optimizer(config.optimizer, _rays(dataset) / settings.rays_per_step)
    state = init_state(model, optimizer, dataset, mesh, seed=settings.seed)
    clock, checkpoints = Clock(), run.checkpoints
    if resume:
        state = checkpoints.restore(state)
        clock = Clock(**checkpoints.about()["clock"])
        run.forget_metrics_after(int(state.step))
    on_device = jax.device_put(dataset, NamedSharding(mesh, REPLICATED))
    loop = _Loop(
        run, config, model, optimizer, mesh, checkpoints, state, clock, on_device, callback
    )
    if held_out is not None and settings.validate_every:
        loop.validate_on(jax.device_put(held_out, NamedSharding(mesh, REPLICATED)))
    with _stop_signals() as stop:
        try:
            loop.run_until(stop)
            loop.save()
        finally:
            checkpoints.close()
    return FitResult(loop.state, clock, stop.signal)


def _rays(dataset: Dataset) -> int:
    count, height, width, _ = dataset.pixels.shape
    return count * height * width


@dataclass
class _Stop:
    signal: int | None = None


@contextlib.contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Ctrl-C and SIGTERM ask once, politely; a second time they end the program as ever."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals belong to the main thread: a notebook's helper may train without
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        say(f"\n{signal.Signals(number).name}: stopping after this call, then saving")
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()


@dataclass
class _Loop:
    """The calls of one sitting, and what happens between them."""

    run: Run
    config: Config
    model: Model
    optimizer: optax.GradientTransformation
    mesh: Mesh
    checkpoints: Checkpoints
    state: TrainState
    clock: Clock
    dataset: Dataset
    callback: TrainingCallback | None = None

    def __post_init__(self) -> None:
        self.step = int(self.state.step)
        self._compiled: dict[int, TrainSteps] = {}
        self._compile_validation: Callable[[], Callable[[], float]] | None = None
        self._validate: Callable[[], float] | None = None
        self._val_psnr: float | None = None
        self._val_is_new = False
        self._reported_at = -np.inf
        self._since_report: list[Metrics] = []
        self._seconds_since_report = 0.0
        self._advised: set[str] = set()

    def validate_on(self, held_out: Dataset) -> None:
        error = make_validation(
            self.model,
            self.mesh,
            self.config.train.validation_rays,
            solid(self.config.data.background),
        )

        def compile_now() -> Callable[[], float]:
            given = self.state.params, self.state.aux, held_out
            compiled = error.lower(*given).compile()  # type: ignore[attr-defined]
            return lambda: float(psnr(compiled(self.state.params, self.state.aux, held_out)))

        self._compile_validation = compile_now

    def run_until(self, stop: _Stop) -> None:
        settings = self.config.train
        if self._finished():
            say(f"nothing left to train: step {self.step} of {settings.num_steps} is reached")
            return
        per_call = settings.steps_per_call or self._a_second_of_steps()
        self._run_callback(stop)
        with Progress("train", settings.num_steps) as progress:
            while not self._finished() and stop.signal is None:
                before = self.step
                self._call(min(per_call, settings.num_steps - self.step))
                if self._validate and self._passed(before, settings.validate_every):
                    self._val_psnr, self._val_is_new = self._validate(), True
                self._run_callback(stop)
                self._report(progress)
                if self._passed(before, settings.checkpoint_every) and not self._finished():
                    self.save()

    def _run_callback(self, stop: _Stop) -> None:
        """Call the callback until it returns True."""
        if self.callback is None:
            return
        calls, num_steps = self._since_report, self.config.train.num_steps
        score = float(psnr(jnp.float32(np.mean(calls[-1]["mse"])))) if calls else None
        status = TrainingStatus(self.state, self.step, num_steps, score, self._val_psnr)
        while not self.callback(status) and stop.signal is None:
            time.sleep(0.05)

    def _finished(self) -> bool:
        settings = self.config.train
        out_of_time = (
            settings.max_seconds is not None and self.clock.train_seconds >= settings.max_seconds
        )
        return self.step >= settings.num_steps or out_of_time

    def _passed(self, before: int, every: int) -> bool:
        """Whether the steps since ``before`` reached a multiple of ``every``, or the end."""
        return bool(every) and (before // every != self.step // every or self._finished())

    def _call(self, num_steps: int) -> None:
        """Some steps at once: the only thing that training time is."""
        if num_steps not in self._compiled:
            self._compile(num_steps)
        start = time.perf_counter()
        self.state, metrics = self._compiled[num_steps](self.state, self.dataset)
        metrics = jax.device_get(metrics)  # the one wait for the device
        seconds = time.perf_counter() - start
        self.clock.train_seconds += seconds
        self._seconds_since_report += seconds
        finite = np.isfinite(metrics["loss"])
        if not finite.all():
            self._stop_not_finite("the loss", self.step + int(np.argmin(finite)) + 1)
        self.step += num_steps
        self._since_report.append(metrics)

    def _compile(self, num_steps: int) -> None:
        start = time.perf_counter()
        steps = self._train_steps(num_steps)
        # The validation beside it, as XLA hardly fills a second core with one of them.
        with ThreadPoolExecutor(1) as beside:
            first = self._compile_validation if self._validate is None else None
            validate = beside.submit(first) if first else None
            compiled = steps.lower(self.state, self.dataset).compile()  # type: ignore[attr-defined]
            self._validate = validate.result() if validate else self._validate
        seconds = time.perf_counter() - start
        self.clock.compile_seconds += seconds
        memory = compiled.memory_analysis()
        held = memory.argument_size_in_bytes + memory.temp_size_in_bytes if memory else 0
        say(f"compiled in {seconds:.1f} s; training needs about {max(1, held >> 20):,} MiB")
        self._compiled[num_steps] = compiled

    def _train_steps(self, num_steps: int) -> TrainSteps:
        rays = self.config.train.rays_per_step
        share = split_evenly(rays, self.mesh, "train.rays_per_step")
        # Where every sample is read, 128 rays suit a CPU's caches; a packed step is of one size.
        small = _on_cpu() and not self.config.model.is_sparse
        at_once = self.config.train.rays_per_pass or (128 if small else share)
        passes = next(n for n in range(1, share + 1) if share % n == 0 and share // n <= at_once)
        return make_train_steps(self.model, self.optimizer, self.mesh, rays, num_steps, passes)

    def _a_second_of_steps(self) -> int:
        """How many steps take about a second, guessed from their arithmetic.

        A divisor of the number of steps if one is near: then no shorter last call is compiled.
        """
        # In a single pass, as the arithmetic of a loop's body is counted once.
        rays = self.config.train.rays_per_step
        one = make_train_steps(self.model, self.optimizer, self.mesh, rays, num_steps=1)
        lowered = one.lower(self.state, self.dataset)  # type: ignore[attr-defined]
        flops = (lowered.cost_analysis() or {}).get("flops", 0.0)
        flops_per_second = 5e10 if _on_cpu() else 2e13
        wanted = int(np.clip(flops_per_second / max(flops, 1.0), 1, 100))
        total = self.config.train.num_steps
        near = [count for count in range(wanted, wanted // 2, -1) if total % count == 0]
        return near[0] if near else wanted

    def _report(self, progress: Progress) -> None:
        settings = self.config.train
        since = self.clock.train_seconds - self._reported_at
        if since < settings.report_every_seconds and not self._finished():
            return
        mean = {
            name: float(np.mean(np.concatenate([part[name] for part in self._since_report])))
            for name in self._since_report[0]
        }
        num_steps = sum(len(part["loss"]) for part in self._since_report)
        rays = num_steps * settings.rays_per_step * mean.get("kept", 1.0)
        rays_per_second = rays / self._seconds_since_report
        record = {
            "step": self.step,
            "train_seconds": round(self.clock.train_seconds, 3),
            **mean,
            "psnr": float(psnr(jnp.float32(mean["mse"]))),
            "val_psnr": self._val_psnr if self._val_is_new else None,
            "rays_per_second": round(rays_per_second, 1),
        }
        self.run.add_metrics(record)
        val = "" if self._val_psnr is None else f"  val {self._val_psnr:.2f} dB"
        progress.update(
            self.step,
            f"loss {record['loss']:.5f}  train {record['psnr']:.2f} dB{val}  "
            f"{rays_per_second:,.0f} rays/s  "
            f"ETA {duration(self._rest(num_steps / self._seconds_since_report))}",
        )
        for metric, message in advise(self.config, {**mean, "step": self.step}).items():
            if metric not in self._advised:
                say(message)
                self._advised.add(metric)
        self._reported_at = self.clock.train_seconds
        self._since_report, self._seconds_since_report, self._val_is_new = [], 0.0, False

    def _rest(self, steps_per_second: float) -> float:
        """Seconds to go, by the steps or the time that are left."""
        settings = self.config.train
        by_steps = (settings.num_steps - self.step) / steps_per_second
        if settings.max_seconds is None:
            return by_steps
        return max(0.0, min(by_steps, settings.max_seconds - self.clock.train_seconds))

    def save(self) -> None:
        """Begin a checkpoint of the state, if it is worth one."""
        if not all(jax.tree.leaves(_all_finite(self.state.params))):
            self._stop_not_finite("a parameter", self.step)
        about = {
            "config": to_dict(self.config),
            "clock": vars(self.clock),
            "num_photos": len(self.dataset.pixels),
        }
        self.checkpoints.save(self.step, self.state, about)

    def _stop_not_finite(self, what: str, step: int) -> None:
        self.checkpoints.close()  # one may be on its way still
        latest = self.checkpoints.latest()
        kept = (
            "no checkpoint was made before" if latest is None else f"that of step {latest} is kept"
        )
        raise FloatingPointError(
            f"{what} is not finite at step {step}; {kept} in {self.checkpoints.folder}. A smaller "
            f"--optimizer.learning_rate (now {self.config.optimizer.learning_rate:g}) is the usual "
            "remedy"
        )


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


@jax.jit
def _all_finite(params: object) -> object:
    return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)), params)
