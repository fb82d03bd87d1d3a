"""Adam and its learning rate, as a config asks for them."""

import functools
from typing import Any

import jax
import optax

from nerf_jax.config import Exponential, Milestones, OptimizerConfig


def learning_rate(config: OptimizerConfig, steps_per_epoch: float = 1.0) -> optax.Schedule:
    """The learning rate as a function of the step.

    Args:
        config: what to follow.
        steps_per_epoch: for schedules that count epochs.
    """
    match config.schedule:
        case Exponential(steps=0):  # the decay follows the progress: `decay_by_progress`
            schedule = optax.constant_schedule(config.learning_rate)
        case Exponential(final=final, steps=steps):
            schedule = optax.exponential_decay(
                config.learning_rate, steps, final, end_value=config.learning_rate * final
            )
        case Milestones(epochs=epochs, factor=factor):
            boundaries = {round(epoch * steps_per_epoch): factor for epoch in epochs}
            schedule = optax.piecewise_constant_schedule(config.learning_rate, boundaries)
    if not config.warmup_steps:
        return schedule
    warmup = optax.linear_schedule(0.01, 1.0, config.warmup_steps)
    return lambda step: schedule(step) * warmup(step)


def make_optimizer(
    config: OptimizerConfig, steps_per_epoch: float = 1.0
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015) with the config's learning rate; the cameras' have their own."""
    rate = learning_rate(config, steps_per_epoch)
    adam = functools.partial(optax.adam, b1=config.beta1, b2=config.beta2, eps=config.epsilon)
    optimizer = adam(rate)
    if config.pose_learning_rate:
        part = config.pose_learning_rate / config.learning_rate
        parts = {"scene": optimizer, "poses": adam(lambda step: part * rate(step))}
        optimizer = optax.partition(parts, {"scene": "scene", "poses": "poses"})
    if isinstance(config.schedule, Exponential) and not config.schedule.steps:
        return decay_by_progress(optimizer, config.schedule.final)
    return optimizer


def decay_by_progress(
    optimizer: optax.GradientTransformation, final: float
) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose updates fall exponentially, by a factor from 1 to ``final`` as
    ``progress`` goes from 0 to 1.
    """

    def update(updates: Any, state: Any, params: Any = None, *, progress: Any) -> Any:
        updates, state = optimizer.update(updates, state, params)
        return jax.tree.map(lambda leaf: leaf * final**progress, updates), state

    return optax.GradientTransformationExtraArgs(optimizer.init, update)
