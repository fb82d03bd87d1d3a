"""Adam and its learning rate, as a config asks for them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nerf_jax.config import Cosine, Exponential, Milestones, OptimizerConfig


def learning_rate(config: OptimizerConfig, steps_per_epoch: float = 1.0) -> optax.Schedule:
    """The learning rate as a function of the step.

    Args:
        config: what to follow.
        steps_per_epoch: for schedules that count epochs.
    """
    match config.schedule:
        case Cosine() | Exponential(steps=0):  # the decay follows the progress: `decay_by_progress`
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
    match config.schedule:
        case Cosine(final=final) | Exponential(final=final, steps=0):
            return decay_by_progress(optimizer, final)
    return optimizer


def decay_by_progress(
    optimizer: optax.GradientTransformation, final: float
) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose updates fall by half a cosine, from a factor of 1 to ``final`` as
    ``progress`` goes from 0 to 1.
    """

    def update(updates: Any, state: Any, params: Any = None, *, progress: Any) -> Any:
        updates, state = optimizer.update(updates, state, params)
        factor = final + (1 - final) * (1 + jnp.cos(jnp.pi * progress)) / 2
        return jax.tree.map(lambda leaf: factor * leaf, updates), state

    return optax.GradientTransformationExtraArgs(optimizer.init, update)
