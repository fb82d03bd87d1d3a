"""Where to look, proposed by small fields: for scenes that are nowhere empty."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nerf_jax import losses
from nerf_jax.compositing import Background, over, pixel_over, sample_background, solid
from nerf_jax.config import ProposalConfig
from nerf_jax.contraction import Space, contains
from nerf_jax.methods.grid_fields import density_field, fit_space, grid_field, misfit
from nerf_jax.numerics import split_each
from nerf_jax.render import ray_weights, render_rays
from nerf_jax.sampling import anneal_weights, blur_weights, inverse_cdf, stratified
from nerf_jax.types import Batch, Cameras, Metrics, Model, Params, Point, Rays, RayTable, Rendering


class Outlook(NamedTuple):
    """What changes without a gradient."""

    space: Space
    trust: Float[Array, ""]
    """How far proposals are believed, in [0, 1]."""


class Round(NamedTuple):
    """What was looked at, in one round: edges in [0, 1] of the steps from near to far."""

    edges: Float[Array, "R S+1"]
    w: Float[Array, "R S"]


def proposal(config: ProposalConfig, background: Background = "random") -> Model:
    """Proposal networks (mip-NeRF 360, Section 3), hash grids in the place of MLPs.

    Small fields of which only the density is read find where to look, each more closely than the
    one before; the last one looks. The proposals learn from what it found, and not from the photos.
    """
    fields = [density_field(config, resolution) for resolution in config.proposal_resolutions]

    def init(
        key: Array, cameras: Cameras | RayTable, size_hw: tuple[int, int]
    ) -> tuple[Params, Outlook]:
        space = fit_space(config, cameras, size_hw)

        def init_params(key: Array) -> Params:
            keys = jax.random.split(key, len(fields) + 1)
            proposals = [field(space).init(k) for field, k in zip(fields, keys[1:], strict=True)]
            last = grid_field(config, space, len(cameras.near)).init(keys[0])
            return {"field": last, "proposals": proposals}

        return jax.jit(init_params)(key), Outlook(space, jnp.float32(0.0))

    def refresh(params: Params, aux: Outlook, key: Array, step: Int[Array, ""]) -> Outlook:
        return aux._replace(trust=jnp.minimum(step / max(1, config.anneal_steps), 1.0))

    def see(
        params: Params, aux: Outlook, keys: Array | None, rays: Rays
    ) -> tuple[Rendering, list[Round]]:
        march = jax.vmap(aux.space.march, (None, 0, None))(None, rays, 1)
        march = march._replace(offset=jnp.zeros_like(march.offset))
        steps = jax.vmap(lambda one: one.num_steps())(march)
        counts = [*config.num_proposals, config.num_samples]
        turns = split_each(keys, len(counts))

        def spread(key: Array | None, ray: Rays) -> Array:
            return stratified(key, 0.0, 1.0, counts[0]).at[0].set(0.0).at[-1].set(1.0)

        def at(edges: Array) -> Array:
            return jax.vmap(lambda one, e: one.t(e))(march, edges * steps[:, None])

        edges = jax.vmap(spread)(turns[0], rays)
        rounds = []
        for number, field in enumerate(fields):
            w = ray_weights(field(aux.space), params["proposals"][number], rays, at(edges))
            rounds.append(Round(edges, w))
            focus = functools.partial(_focus, aux.trust, counts[number + 1])
            edges = jax.vmap(focus)(turns[number + 1], edges, jax.lax.stop_gradient(w))
        last = grid_field(config, aux.space)
        seen, w = render_rays(last, params["field"], rays, at(edges))
        return seen, [*rounds, Round(edges, w)]

    def loss(params: Params, aux: Outlook, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        behind, keys = jax.vmap(functools.partial(sample_background, background))(keys)
        target = pixel_over(batch.pixel, behind)
        seen, (*rounds, last) = see(params, aux, keys, batch.rays)
        seen = seen._replace(rgb=over(seen.rgb, seen.opacity, behind))
        off, errors = misfit(config, seen, target, batch, batch.counts)
        mean = functools.partial(losses.masked_mean, counts=batch.counts)
        apart = mean(jax.vmap(losses.distortion)(last.w, last.edges))
        bounds = jax.vmap(losses.interlevel)
        missed = jnp.sum(
            jnp.stack([mean(bounds(last.edges, last.w, one.edges, one.w)) for one in rounds])
        )
        total = off + config.distortion * apart + config.interlevel * missed
        return total, {"loss": total, **errors, "distortion": apart, "interlevel": missed}

    def render(params: Params, aux: Outlook, rays: Rays) -> Rendering:
        seen, _ = see(params, aux, None, rays)
        return seen._replace(rgb=over(seen.rgb, seen.opacity, solid(background)))

    def density(params: Params, aux: Outlook, points: Point) -> Float[Array, " N"]:
        field = grid_field(config, aux.space)
        sigma, _ = jax.vmap(field.density, (None, 0))(params["field"], points)
        inside = jax.vmap(contains, (None, 0))(aux.space, points.position)
        return jnp.where(inside, sigma, 0.0)

    return Model(init, loss, refresh, render, density)


_PADDING = 0.01
"""Of each interval's weight: a proposal that is wrong must be looked past to be put right."""


def _focus(
    trust: Float[Array, ""], num_samples: int, key: Array | None, edges: Array, w: Array
) -> Array:
    """Edges where the weights are, from end to end all the same: nothing goes unseen."""
    believed = blur_weights(anneal_weights(w, trust), padding=_PADDING)
    return inverse_cdf(key, edges, believed, num_samples).at[0].set(0.0).at[-1].set(1.0)
