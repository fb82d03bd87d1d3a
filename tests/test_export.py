"""The training step and the renderer of every packaged config lower for every kind of device."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from nerf_jax import config as configs
from nerf_jax import methods, train
from nerf_jax.devices import ray_mesh
from nerf_jax.types import Rays
from tests import small

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in configs.CONFIGS.glob("*.py")))
def test_every_config_lowers_for_every_platform(name):
    config, photos = configs.load(name, "gpu"), small.dataset()
    if getattr(config.model, "space", None) == "frustum":  # these cameras look in all directions
        config = replace(config, model=replace(config.model, space="contracted"))
    config = replace(config, model=methods.resolve(config.model, photos)[0])
    model, optimizer = methods.build(config), methods.make_optimizer(config.optimizer, 100.0)
    mesh = ray_mesh(jax.devices()[:1])
    state = jax.eval_shape(lambda: train.init_state(model, optimizer, photos, mesh))
    steps = train.make_train_steps(model, optimizer, mesh, config.train.rays_per_step, 4)
    dataset = photos if config.model.learns_depth else photos._replace(depth=None)
    count = config.eval.rays_per_chunk
    vector, number, index = (
        jax.ShapeDtypeStruct((count, *shape), dtype)
        for shape, dtype in (((3,), np.float32), ((), np.float32), ((), np.int32))
    )
    rays = Rays(vector, vector, number, number, number, index)
    programs = {steps: (state, dataset), jax.jit(model.render): (state.params, state.aux, rays)}
    for program, arguments in programs.items():
        exported = jax.export.export(program, platforms=PLATFORMS)(*arguments)
        assert exported.platforms == PLATFORMS
        assert len(exported.out_avals) > 0
