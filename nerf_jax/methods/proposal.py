"""Proposal sampling: small density fields find where to sample, for scenes without empty space."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nerf_jax import losses
from nerf_jax.compositing import Background, pixel_over, sample_background, solid_background
from nerf_jax.config import ProposalConfig
from nerf_jax.contraction import RaySteps, Space, contains
from nerf_jax.methods.grid_fields import (
    density_field,
    fit_space,
    grid_field,
    over_background,
    rendering_loss,
)
from nerf_jax.render import ray_weights, render_rays
from nerf_jax.sampling import anneal_weights, blur_weights, inverse_cdf, split_each, stratified
from nerf_jax.types import Batch, Cameras, Metrics, Model, Params, Point, Rays, RayTable, Rendering


class ProposalState(NamedTuple):
    """The model's ``aux``."""

    space: Space
    trust: Float[Array, ""]
    """The share of the annealing that is done, in [0, 1]."""


class ProposalRound(NamedTuple):
    """The intervals of R rays in one round, in [0, 1] from near to far, and their weights."""

    edges: Float[Array, "R S+1"]
    w: Float[Array, "R S"]


def proposal(config: ProposalConfig, background: Background = "random") -> Model:
    """Proposal networks (mip-NeRF 360, Section 3), with hash grids in the place of MLPs.

    Each proposal field samples more closely than the one before, and the last field renders. The
    proposals learn from the weights of the last field, and not from the photos.
    """
    return Model(
        init=functools.partial(_init, config),
        loss=functools.partial(_loss, config, background),
        refresh=functools.partial(_refresh, config),
        render=functools.partial(_render, config, background),
        density=functools.partial(_density, config),
    )


def _init(
    config: ProposalConfig, key: Array, cameras: Cameras | RayTable, size_hw: tuple[int, int]
) -> tuple[Params, ProposalState]:
    space = fit_space(config, cameras, size_hw)

    def init_params(key: Array) -> Params:
        resolutions = config.proposal_resolutions
        keys = jax.random.split(key, len(resolutions) + 1)
        proposals = [
            density_field(config, resolution)(space).init(k)
            for resolution, k in zip(resolutions, keys[1:], strict=True)
        ]
        field = grid_field(config, space, len(cameras.near))
        return {"field": field.init(keys[0]), "proposals": proposals}

    return jax.jit(init_params)(key), ProposalState(space, jnp.float32(0.0))


def _refresh(
    config: ProposalConfig, params: Params, aux: ProposalState, key: Array, step: Int[Array, ""]
) -> ProposalState:
    return aux._replace(trust=jnp.minimum(step / max(1, config.anneal_steps), 1.0))


def _render_rounds(
    config: ProposalConfig, params: Params, aux: ProposalState, keys: Array | None, rays: Rays
) -> tuple[Rendering, list[ProposalRound]]:
    """The rendering before any background, and all rounds: the proposals', then the field's."""
    steps = jax.vmap(aux.space.ray_steps, (None, 0, None))(0.0, rays, 1)
    num_steps = jax.vmap(RaySteps.num_steps)(steps)
    counts = [*config.num_proposals, config.num_samples]
    round_keys = split_each(keys, len(counts))

    def even_edges(key: Array | None, ray: Rays) -> Array:
        return stratified(key, 0.0, 1.0, counts[0]).at[0].set(0.0).at[-1].set(1.0)

    def distances(edges: Array) -> Array:
        return jax.vmap(RaySteps.t)(steps, edges * num_steps[:, None])

    edges = jax.vmap(even_edges)(round_keys[0], rays)
    rounds = []
    for index, resolution in enumerate(config.proposal_resolutions):
        field = density_field(config, resolution)(aux.space)
        w = ray_weights(field, params["proposals"][index], rays, distances(edges))
        rounds.append(ProposalRound(edges, w))
        resample = functools.partial(_resample, aux.trust, counts[index + 1])
        edges = jax.vmap(resample)(round_keys[index + 1], edges, jax.lax.stop_gradient(w))
    field = grid_field(config, aux.space)
    rendering, w = render_rays(field, params["field"], rays, distances(edges))
    return rendering, [*rounds, ProposalRound(edges, w)]


_PADDING = 0.01
"""Added to each interval's weight, so that a wrong proposal can be corrected."""


def _resample(
    trust: Float[Array, ""], num_samples: int, key: Array | None, edges: Array, w: Array
) -> Array:
    """Edges in proportion to the weights, from end to end: no part of a ray is left unsampled."""
    annealed = blur_weights(anneal_weights(w, trust), padding=_PADDING)
    return inverse_cdf(key, edges, annealed, num_samples).at[0].set(0.0).at[-1].set(1.0)


def _loss(
    config: ProposalConfig,
    background: Background,
    params: Params,
    aux: ProposalState,
    keys: Array,
    batch: Batch,
) -> tuple[Array, Metrics]:
    backgrounds, keys = jax.vmap(functools.partial(sample_background, background))(keys)
    target = pixel_over(batch.pixel, backgrounds)
    rendering, (*rounds, last) = _render_rounds(config, params, aux, keys, batch.rays)
    field = grid_field(config, aux.space)
    rendering = over_background(field, params["field"], batch.rays, rendering, backgrounds)
    error, errors = rendering_loss(config, rendering, target, batch, batch.mask)
    mean = functools.partial(losses.masked_mean, mask=batch.mask)
    distortion = mean(jax.vmap(losses.distortion)(last.w, last.edges))
    bounds = jax.vmap(losses.interlevel)
    interlevel = jnp.sum(
        jnp.stack([mean(bounds(last.edges, last.w, one.edges, one.w)) for one in rounds])
    )
    loss = error + config.distortion * distortion + config.interlevel * interlevel
    return loss, {"loss": loss, **errors, "distortion": distortion, "interlevel": interlevel}


def _render(
    config: ProposalConfig, background: Background, params: Params, aux: ProposalState, rays: Rays
) -> Rendering:
    found, _ = _render_rounds(config, params, aux, None, rays)
    field = grid_field(config, aux.space)
    return over_background(field, params["field"], rays, found, solid_background(background))


def _density(
    config: ProposalConfig, params: Params, aux: ProposalState, points: Point
) -> Float[Array, " N"]:
    field = grid_field(config, aux.space)
    sigma, _ = jax.vmap(field.density, (None, 0))(params["field"], points)
    inside = jax.vmap(contains, (None, 0))(aux.space, points.position)
    return jnp.where(inside, sigma, 0.0)
