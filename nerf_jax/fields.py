"""The networks.

Each Flax module takes one encoded point and one encoded direction, and has the two functions of
the :class:`~nerf_jax.types.Field` interface as methods; :func:`as_field` adds the encodings.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nerf_jax.encodings import spherical_harmonics
from nerf_jax.hashgrid import Corners, Level, encode, init_tables, level_weights
from nerf_jax.numerics import bounded_exp
from nerf_jax.types import Field, Params, Point, View


class NerfMLP(nn.Module):
    """The network of NeRF (Mildenhall et al., 2020, Figure 7).

    ``depth`` hidden layers, with the input concatenated to the output of layer ``skip``, counted
    from 1 (0: none); a density layer on the last of them, and a colour head of half the width that
    takes the direction.
    """

    depth: int = 8
    width: int = 256
    skip: int = 5
    density_activation: Literal["relu", "softplus"] = "relu"
    color_padding: float = 0.0
    """The margin of colours beyond [0, 1], so that black and white need no infinite weights."""

    def setup(self) -> None:
        # Glorot, as the authors' Keras layers, and not Linen's default.
        dense = functools.partial(nn.Dense, kernel_init=nn.initializers.glorot_uniform())
        self.trunk = [dense(self.width) for _ in range(self.depth)]
        self.to_density = dense(1)
        self.bottleneck = dense(self.width)
        self.head = dense(self.width // 2)
        self.to_rgb = dense(3)

    def density(self, x: Float[Array, " e"]) -> tuple[Float[Array, ""], Float[Array, " F"]]:
        h = x
        for index, layer in enumerate(self.trunk, start=1):
            h = nn.relu(layer(h))
            if index == self.skip:
                h = jnp.concatenate([x, h])
        raw = self.to_density(h)[0]
        # A ReLU that is negative everywhere has no gradient, and the scene stays empty; the paper's
        # learning rate is small enough to avoid this. The softplus is mip-NeRF's.
        softplus = self.density_activation == "softplus"
        return nn.softplus(raw - 1.0) if softplus else nn.relu(raw), self.bottleneck(h)

    def color(self, features: Float[Array, " F"], d: Float[Array, " e"]) -> Float[Array, "3"]:
        h = nn.relu(self.head(jnp.concatenate([features, d])))
        pad = self.color_padding
        return nn.sigmoid(self.to_rgb(h)) * (1 + 2 * pad) - pad

    def __call__(self, x: Float[Array, " e"], d: Float[Array, " e2"]) -> Float[Array, "3"]:
        return self.color(self.density(x)[1], d)


class TutorialMLP(nn.Module):
    """The network of the 100-line NeRF: four layers, the input again, four more.

    The last trunk layer is linear and gives the features and the density; weights and biases are
    initialised uniformly within ``1 / sqrt(fan in)``, as in PyTorch.
    """

    width: int = 256

    def setup(self) -> None:
        self.block1 = [_UniformDense(self.width) for _ in range(4)]
        self.block2 = [_UniformDense(self.width) for _ in range(3)]
        self.to_features = _UniformDense(self.width + 1)
        self.block3 = _UniformDense(self.width // 2)
        self.block4 = _UniformDense(3)

    def density(self, x: Float[Array, " e"]) -> tuple[Float[Array, ""], Float[Array, " F"]]:
        h = x
        for layer in self.block1:
            h = nn.relu(layer(h))
        h = jnp.concatenate([h, x])
        for layer in self.block2:
            h = nn.relu(layer(h))
        h = self.to_features(h)
        return nn.relu(h[-1]), h[:-1]

    def color(self, features: Float[Array, " F"], d: Float[Array, " e"]) -> Float[Array, "3"]:
        h = nn.relu(self.block3(jnp.concatenate([features, d])))
        return nn.sigmoid(self.block4(h))

    def __call__(self, x: Float[Array, " e"], d: Float[Array, " e2"]) -> Float[Array, "3"]:
        return self.color(self.density(x)[1], d)


class _UniformDense(nn.Module):
    """A dense layer with weights and biases initialised within ``1 / sqrt(fan in)``."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        def uniform(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
            bound = x.shape[-1] ** -0.5
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        return nn.Dense(self.features, kernel_init=uniform, bias_init=uniform)(x)


class HashField(nn.Module):
    """A hash grid and two small networks (Instant-NGP, Section 5.4).

    One hidden layer from the grid's features to the density's logarithm and further features; two
    from those and the direction's spherical harmonics to the colour. No layer has a bias.
    """

    levels: tuple[Level, ...]
    num_features: int = 2
    width: int = 64
    degree: int = 4
    """Bands of the direction's spherical harmonics."""
    footprint: Literal["point", "cone"] = "point"
    """Features at the point, or their mean over its footprint."""
    density_bias: float = -1.0
    """Added to the density's logarithm: its initial value."""
    num_photos: int | None = None
    """Of the training split; needed at initialisation alone."""
    has_environment: bool = False
    """Whether the colour of what is infinitely far is learned, by the direction alone."""
    code_size: int = 0
    """The size of each photo's appearance code, for its exposure and white balance (NeRF in the
    Wild, Section 4.1). Rays of no photo use the mean of all codes."""
    corners: Corners = "in_turn"
    """How a cell of the grid is read."""
    dtype: DTypeLike | None = None
    """Of the networks' activations, whose weights are of 32 bits; None: 32 bits too."""

    def setup(self) -> None:
        dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype)
        self.tables = self.param(
            "tables", lambda key: init_tables(key, self.levels, self.num_features)
        )
        self.trunk = [dense(self.width), dense(16)]
        self.head = [dense(self.width), dense(self.width), dense(3)]
        if self.has_environment:
            self.sky = [nn.Dense(self.width), nn.Dense(3)]
        if self.code_size:
            if self.is_initializing():
                shape = self.num_photos, self.code_size
                self.codes = self.param("codes", nn.initializers.normal(0.01), shape)
            else:
                self.codes = self.get_variable("params", "codes")

    def density(self, point: Point) -> tuple[Float[Array, ""], Float[Array, " F"]]:
        h = encode(self.tables, self.levels, point.position, self.corners)
        if self.footprint == "cone":
            # A pixel's footprint is flat: of its three axes two have a width.
            w = level_weights(self.levels, jnp.sum(point.variance) / 2)
            h = h * jnp.repeat(w, self.num_features)
        h = self.trunk[1](nn.relu(self.trunk[0](h)))
        return bounded_exp(h[0].astype(jnp.float32) + self.density_bias), h[1:]

    def color(self, features: Float[Array, " F"], view: View) -> Float[Array, "3"]:
        parts = [spherical_harmonics(view.direction, self.degree), features]
        if self.code_size:
            own = self.codes[jnp.maximum(view.appearance, 0)]
            parts.append(jnp.where(view.appearance < 0, jnp.mean(self.codes, axis=0), own))
        h = jnp.concatenate(parts)
        for layer in self.head[:-1]:
            h = nn.relu(layer(h))
        return nn.sigmoid(self.head[-1](h).astype(jnp.float32))

    def environment(self, view: View) -> Float[Array, "3"]:
        h = nn.relu(self.sky[0](spherical_harmonics(view.direction, self.degree)))
        return nn.sigmoid(self.sky[1](h))

    def __call__(self, point: Point, view: View) -> Float[Array, "3"]:
        if self.has_environment:
            self.environment(view)  # its parameters are made here too
        return self.color(self.density(point)[1], view)


def appearance_codes(params: Params) -> Float[Array, "N C"] | None:
    """The appearance codes of the training photos, in any method's parameters; None without any."""
    leaves = jax.tree.leaves_with_path(params)
    return next((leaf for path, leaf in leaves if _is_codes(path)), None)


def with_appearance_code(params: Params, code: Float[Array, " C"]) -> Params:
    """The parameters with one code for all photos, which is then that of a view of none too."""
    return jax.tree.map_with_path(
        lambda path, leaf: jnp.broadcast_to(code, leaf.shape) if _is_codes(path) else leaf, params
    )


def _is_codes(path: tuple) -> bool:
    return path[-1:] == (jax.tree_util.DictKey("codes"),)


def as_field(
    module: nn.Module,
    encode_point: Callable[[Point], Any],
    encode_view: Callable[[View], Any],
    *,
    has_environment: bool = False,
) -> Field:
    """A network as a field over world positions.

    Args:
        module: the network.
        encode_point: the network's input for a point and its footprint.
        encode_view: the network's input for a view.
        has_environment: whether the network has the colour of what is infinitely far.
    """

    def init(key: Array) -> Params:
        point, view = Point(jnp.zeros(3), jnp.zeros(3)), View(jnp.zeros(3), jnp.int32(0))
        return module.init(key, encode_point(point), encode_view(view))

    def density(params: Params, point: Point) -> tuple[Array, Array]:
        found: Any = module.apply(params, encode_point(point), method="density")
        return found

    def color(params: Params, features: Array, view: View) -> Array:
        found: Any = module.apply(params, features, encode_view(view), method="color")
        return found

    def environment(params: Params, view: View) -> Array:
        found: Any = module.apply(params, encode_view(view), method="environment")
        return found

    return Field(init, density, color, environment if has_environment else None)
