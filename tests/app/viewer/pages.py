"""A scene for the viewer that needs no training: the ball of ``small``, in closed form."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nerf_jax.app.runs import Clock, Run
from nerf_jax.app.scene_cameras import SceneCameras, SplitCameras
from nerf_jax.app.trained import Trained
from nerf_jax.app.viewer.viewpoints import Photos, Viewpoint
from nerf_jax.cameras import look_at
from nerf_jax.compositing import over
from nerf_jax.render import image_renderer, render_rays
from nerf_jax.sampling import stratified
from nerf_jax.train import TrainState
from nerf_jax.types import Field, Model, Params, Point, Rays, Rendering
from tests import small


def view_from(origin, target=(0.0, 0.0, 0.0), fov_degrees=40.0, aspect=1.0) -> Viewpoint:
    pose = look_at(np.array(origin), np.array(target), np.array([0.0, 0.0, 1.0])).astype(float)
    return Viewpoint(pose, float(np.radians(fov_degrees)), aspect)


def ball_method() -> Model:
    """A solid ball whose colour is its normal, on white."""

    def density(params: Params, point: Point):
        inside = jnp.sum(point.position**2) < 1
        return jnp.where(inside, 60.0, 0.0), 0.5 + 0.5 * point.position

    field = Field(lambda key: (), density, lambda params, features, view: features)

    def render(params: Params, aux: object, rays: Rays) -> Rendering:
        edges = jax.vmap(lambda ray: stratified(None, ray.near, ray.far, 96))(rays)
        seen, _ = render_rays(field, (), rays, edges)
        return seen._replace(rgb=over(seen.rgb, seen.opacity, jnp.ones(3)))

    return Model(
        init=lambda key, cameras, size_hw: ((), ()),
        loss=None,
        refresh=lambda params, aux, key, step: aux,
        render=render,
        density=None,
    )


def photos_of_ball() -> Photos:
    dataset = small.dataset()
    names = tuple(f"photo_{index}" for index in range(len(dataset.pixels)))
    return Photos(names, dataset.cameras, (small.SIZE, small.SIZE), dataset.pixels)


def ball_scene(folder: Path) -> Trained:
    """The ball as a trained scene."""
    photos, config = photos_of_ball(), small.config()
    config = dataclasses.replace(config, name="ball")
    splits = {"train": SplitCameras(photos.names, photos.cameras, photos.size_hw)}
    state = TrainState(jnp.int32(7), (), (), (), jax.random.key(0))
    model, cameras = ball_method(), SceneCameras(np.eye(4), splits)
    renderer = image_renderer(model.render, config.eval.rays_per_chunk)
    return Trained(Run(folder), config, model, state, Clock(), cameras, renderer)
