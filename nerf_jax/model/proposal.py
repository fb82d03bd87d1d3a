"""Where to look, proposed by small fields: for scenes that are nowhere empty."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nerf_jax import losses, surveying
from nerf_jax.compositing import Background, draw_background, over, pixel_over, solid
from nerf_jax.config import ProposalConfig
from nerf_jax.model.grids import density_field, grid_field, grid_space, misfit
from nerf_jax.numerics import split_each
from nerf_jax.render import render_rays, weights_along
from nerf_jax.sampling import anneal_weights, blur_weights, inverse_cdf, stratified
from nerf_jax.spaces import Space, contains
from nerf_jax.types import Batch, Cameras, Metrics, Model, Params, Point, Rays, Rendering


class Outlook(NamedTuple):
    """What changes without a gradient."""

    space: Space
    trust: Float[Array, ""]
    """How far proposals are believed, in [0, 1]."""


class Round(NamedTuple):
    """What was looked at, in one round: edges in [0, 1] of the steps from near to far."""

    edges: Float[Array, "R S+1"]
    w: Float[Array, "R S"]
    """Without a gradient, but in the last round."""


def proposal(
    config: ProposalConfig, background: Background = "random", num_photos: int = 0
) -> Model:
    """Proposal networks (mip-NeRF 360, Section 3), hash grids in the place of MLPs.

    Small fields of which only the density is read find where to look, each more closely than the
    one before; the last one looks. The proposals learn from what it found, and not from the photos.
    """
    fields = [density_field(config, resolution) for resolution in config.proposal_resolutions]

    def init(key: Array) -> tuple[Params, Outlook]:
        space = grid_space(config)
        keys = jax.random.split(key, len(fields) + 1)
        proposals = [field(space).init(k) for field, k in zip(fields, keys[1:], strict=True)]
        last = grid_field(config, space, num_photos).init(keys[0])
        return {"field": last, "proposals": proposals}, Outlook(space, jnp.float32(0.0))

    def survey(aux: Outlook, cameras: Cameras, size_hw: tuple[int, int]) -> Outlook:
        return aux._replace(space=surveying.fit_space(aux.space, cameras, size_hw))

    def refresh(params: Params, aux: Outlook, key: Array, step: Int[Array, ""]) -> Outlook:
        return aux._replace(trust=jnp.minimum(step / max(1, config.anneal_steps), 1.0))

    def foresee(params: Params, space: Space, number: int, rays: Rays, edges: Array) -> Array:
        """The weights that the proposal of a round gives to the intervals of R rays."""
        field = fields[number](space)
        return weights_along(field, params["proposals"][number], rays, _at(space, rays, edges))

    def see(
        params: Params, aux: Outlook, keys: Array | None, rays: Rays
    ) -> tuple[Rendering, list[Round]]:
        counts = [*config.num_proposals, config.num_samples]
        turns = split_each(keys, len(counts))

        def spread(key: Array | None, ray: Rays) -> Array:
            return stratified(key, 0.0, 1.0, counts[0]).at[0].set(0.0).at[-1].set(1.0)

        edges = jax.vmap(spread)(turns[0], rays)
        rounds = []
        for number, wanted in enumerate(counts[1:]):
            w = foresee(jax.lax.stop_gradient(params), aux.space, number, rays, edges)
            rounds.append(Round(edges, w))
            focus = functools.partial(_focus, aux.trust, wanted)
            edges = jax.vmap(focus)(turns[number + 1], edges, w)
        last = grid_field(config, aux.space, num_photos)
        seen, w = render_rays(last, params["field"], rays, _at(aux.space, rays, edges))
        return seen, [*rounds, Round(edges, w)]

    def missed(params: Params, aux: Outlook, rounds: list[Round], batch: Batch) -> Array:
        """What the proposals did not foresee, of some of the rays: the first so many."""
        some = max(1, batch.counts.size // config.rays_per_proposal)
        *foreseen, last = jax.tree.map(lambda leaf: leaf[:some], rounds)
        rays, counts = jax.tree.map(lambda leaf: leaf[:some], (batch.rays, batch.counts))
        bounds = [
            jax.vmap(losses.interlevel)(
                last.edges, last.w, one.edges, foresee(params, aux.space, number, rays, one.edges)
            )
            for number, one in enumerate(foreseen)
        ]
        return jnp.sum(jnp.stack([losses.mean_of_counted(bound, counts) for bound in bounds]))

    def loss(params: Params, aux: Outlook, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        behind, keys = jax.vmap(functools.partial(draw_background, background))(keys)
        target = pixel_over(batch.pixel, behind)
        seen, rounds = see(params, aux, keys, batch.rays)
        seen = seen._replace(rgb=over(seen.rgb, seen.opacity, behind))
        off, errors = misfit(config, seen, target, batch, batch.counts)
        apart = jax.vmap(losses.distortion)(rounds[-1].w, rounds[-1].edges)
        apart = losses.mean_of_counted(apart, batch.counts)
        unforeseen = missed(params, aux, rounds, batch)
        total = off + config.distortion * apart + config.interlevel * unforeseen
        return total, {"loss": total, **errors, "distortion": apart, "interlevel": unforeseen}

    def render(params: Params, aux: Outlook, rays: Rays) -> Rendering:
        seen, _ = see(params, aux, None, rays)
        return seen._replace(rgb=over(seen.rgb, seen.opacity, solid(background)))

    def density(params: Params, aux: Outlook, points: Point) -> Float[Array, " N"]:
        field = grid_field(config, aux.space, num_photos)
        sigma, _ = jax.vmap(field.density, (None, 0))(params["field"], points)
        inside = jax.vmap(contains, (None, 0))(aux.space, points.position)
        return jnp.where(inside, sigma, 0.0)

    return Model(init, loss, refresh, render, survey=survey, density=density)


def _at(space: Space, rays: Rays, edges: Float[Array, "R E"]) -> Float[Array, "R E"]:
    """Distances of edges: even in the steps of a march, which grow with them where space does."""

    def along(ray: Rays, edges: Float[Array, " E"]) -> Float[Array, " E"]:
        march = space.march(None, ray, 1)
        march = march._replace(offset=jnp.zeros_like(march.offset))
        return march.t(edges * march.num_steps())

    return jax.vmap(along)(rays, edges)


_PADDING = 0.01
"""Of each interval's weight: a proposal that is wrong must be looked past to be put right."""


def _focus(
    trust: Float[Array, ""], num_samples: int, key: Array | None, edges: Array, w: Array
) -> Array:
    """Edges where the weights are, from end to end all the same: nothing goes unseen."""
    believed = blur_weights(anneal_weights(w, trust), padding=_PADDING)
    return inverse_cdf(key, edges, believed, num_samples).at[0].set(0.0).at[-1].set(1.0)
