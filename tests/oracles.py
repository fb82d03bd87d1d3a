"""The papers' formulas once more: plain loops over Python numbers and float64, slow and obvious."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Layers = Mapping[str, Mapping]
"""A Flax dictionary of parameters."""


# ------------------------------------------------------------------------------ gradients


def gradient(f: Callable[..., float], *arguments, step: float = 1e-6) -> tuple[np.ndarray, ...]:
    """Central differences of a number with respect to every entry of every argument."""
    arguments = [np.array(argument, np.float64) for argument in arguments]
    gradients = [np.zeros_like(argument) for argument in arguments]
    for argument, out in zip(arguments, gradients, strict=True):
        for place in np.ndindex(argument.shape):
            kept, around = argument[place], []
            for sign in (1, -1):
                argument[place] = kept + sign * step
                around.append(f(*arguments))
            argument[place] = kept
            out[place] = (around[0] - around[1]) / (2 * step)
    return tuple(gradients)


# ------------------------------------------------------------------------------ encodings


def frequency(x: Sequence[float], num_bands: int, include_input: bool = True) -> np.ndarray:
    """NeRF, Eq. 4, each band's sines before its cosines, all coordinates of one together."""
    encoded = list(x) if include_input else []
    for band in range(num_bands):
        for wave in (math.sin, math.cos):
            encoded += [wave(2**band * float(coordinate)) for coordinate in x]
    return np.array(encoded, np.float64)


def integrated(mean: Sequence[float], variance: Sequence[float], num_bands: int) -> np.ndarray:
    """mip-NeRF, Eq. 14: each wave of the mean, and what the variance leaves of it."""
    encoded = []
    for band in range(num_bands):
        for wave in (math.sin, math.cos):
            for m, v in zip(mean, variance, strict=True):
                encoded.append(wave(2**band * float(m)) * math.exp(-(4**band) * float(v) / 2))
    return np.array(encoded)


# ---------------------------------------------------------------------------------- cones


def frustum(origin, direction, radius: float, start: float, end: float):
    """Mean and variance of a place in a cone between two distances along its axis.

    A slice at ``t`` is a disc as large as ``t^2``, whose places vary by ``(radius t)^2 / 4`` along
    each of its two axes: the integrals over ``t`` are those of powers.
    """
    start, end = float(start), float(end)
    volume, first, second = ((end**k - start**k) / k for k in (3, 4, 5))
    mean, square = first / volume, second / volume
    along, across = square - mean**2, float(radius) ** 2 * square / 4
    d = np.asarray(direction, np.float64)
    return np.asarray(origin, np.float64) + mean * d, along * d**2 + across * (1 - d**2)


# ------------------------------------------------------------------------------- sampling


def invert_cdf(
    quantiles: Sequence[float], edges: Sequence[float], masses: Sequence[float]
) -> np.ndarray:
    """Where a density, constant over each interval, has that much of its mass behind it."""
    total, places = sum(masses), []
    for quantile in quantiles:
        left, place = quantile * total, edges[-1]
        for start, end, mass in zip(edges[:-1], edges[1:], masses, strict=True):
            if left < mass:
                place = start + (end - start) * left / mass
                break
            left -= mass
        places.append(place)
    return np.array(places)


def blur_weights(w: Sequence[float], padding: float) -> np.ndarray:
    """mip-NeRF, Eq. 18; the ends are their own neighbours."""
    blurred, last = [], len(w) - 1
    for i in range(len(w)):
        before, behind = w[max(i - 1, 0)], w[min(i + 1, last)]
        blurred.append((max(before, w[i]) + max(w[i], behind)) / 2 + padding)
    return np.array(blurred)


# ---------------------------------------------------------------------------- compositing


def weights(sigma: Sequence[float], delta: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Transmittances and weights, by walking along the ray and counting the light that is left."""
    light, transmittances, stopped = 1.0, [], []
    for density, length in zip(sigma, delta, strict=True):
        passed = math.exp(-float(density) * float(length))
        transmittances.append(light)
        stopped.append(light * (1.0 - passed))
        light *= passed
    return np.array(transmittances), np.array(stopped)


def composite(
    w: Sequence[float], rgb: np.ndarray, edges: Sequence[float]
) -> tuple[np.ndarray, float, float, float]:
    """Colour, opacity, expected depth and median depth of a ray that hits something."""
    color, opacity, moment = np.zeros(3), 0.0, 0.0
    for i, weight in enumerate(w):
        color = color + weight * np.asarray(rgb[i], np.float64)
        opacity += weight
        moment += weight * (edges[i] + edges[i + 1]) / 2
    behind, median = 0.0, edges[-1]
    for i, weight in enumerate(w):
        if behind + weight >= opacity / 2:
            part = (opacity / 2 - behind) / weight
            median = edges[i] + part * (edges[i + 1] - edges[i])
            break
        behind += weight
    return color, opacity, moment / opacity, median


# -------------------------------------------------------------------------------- cameras


def cast_ray(world_from_camera, focal, principal, column: int, row: int):
    """Origin and unit direction of the ray through the middle of a pixel."""
    x = (column + 0.5 - principal[0]) / focal[0]
    y = (row + 0.5 - principal[1]) / focal[1]
    in_camera = [x, -y, -1.0]  # rows count downwards, the camera's y points up, it looks along -z
    direction = [
        sum(float(world_from_camera[axis][k]) * in_camera[k] for k in range(3)) for axis in range(3)
    ]
    length = math.sqrt(sum(component**2 for component in direction))
    origin = [float(world_from_camera[axis][3]) for axis in range(3)]
    return np.array(origin), np.array(direction) / length


def distort(lens, x: float, y: float) -> np.ndarray:
    """OpenCV's models, on the plane of the ideal lens: term by term."""
    r = math.hypot(x, y)
    factor = 1.0
    for number, k in enumerate(lens.radial, start=1):
        factor += float(k) * r ** (2 * number)
    if lens.fisheye:
        return np.array([x * factor, y * factor])
    p1, p2 = map(float, lens.tangential)
    across = x * factor + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2)
    down = y * factor + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y
    return np.array([across, down])


def undistort(lens, x: float, y: float) -> np.ndarray:
    """The fixed point of taking off what the lens puts on, as OpenCV finds it."""
    place = np.array([x, y], np.float64)
    ideal = place
    for _ in range(500):
        ideal = place - (distort(lens, *ideal) - ideal)
    return ideal


# -------------------------------------------------------------------------------- networks


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def dense(layer: Layers, x: np.ndarray) -> np.ndarray:
    kernel, bias = np.asarray(layer["kernel"], float), np.asarray(layer["bias"], float)
    return x @ kernel + bias


def nerf_network(
    layers: Layers,
    x: np.ndarray,
    d: np.ndarray,
    depth: int = 8,
    skip: int = 5,
    activate: Callable[[np.ndarray], np.ndarray] = relu,
):
    """NeRF, Figure 7 and the text beside it: density and colour for encoded inputs."""
    h = x
    for number in range(1, depth + 1):
        h = relu(dense(layers[f"trunk_{number - 1}"], h))
        if number == skip:  # "concatenates this input to the fifth layer's activation"
            h = np.concatenate([x, h])
    sigma = activate(dense(layers["to_density"], h))[0]
    h = dense(layers["bottleneck"], h)  # "this layer uses no activation"
    h = relu(dense(layers["head"], np.concatenate([h, d])))
    return sigma, sigmoid(dense(layers["to_rgb"], h))


def tutorial_network(layers: Layers, x: np.ndarray, d: np.ndarray):
    """The network of "NeRF from scratch in 100 lines": four blocks of layers."""

    def linear(name: str, h: np.ndarray) -> np.ndarray:
        return dense(layers[name]["Dense_0"], h)

    h = x
    for number in range(4):
        h = relu(linear(f"block1_{number}", h))
    h = np.concatenate([h, x])
    for number in range(3):
        h = relu(linear(f"block2_{number}", h))
    h = linear("to_features", h)
    features, sigma = h[:-1], relu(h[-1])
    h = relu(linear("block3", np.concatenate([features, d])))
    return sigma, sigmoid(linear("block4", h))


# --------------------------------------------------------------------------------- methods


def march(network, layers, config, direction, inputs, lengths, edges):
    """One ray through one network, given the encoded places."""
    d = frequency(direction, config.direction_bands)
    seen = [network(layers, x, d) for x in inputs]
    w = weights([sigma for sigma, _ in seen], lengths)[1]
    return w, composite(w, np.array([rgb for _, rgb in seen]), edges)


def encode(config, origin, direction, places) -> list[np.ndarray]:
    return [frequency(origin + t * direction, config.position_bands) for t in places]


def middles(edges: np.ndarray) -> np.ndarray:
    return np.array([(edges[i] + edges[i + 1]) / 2 for i in range(len(edges) - 1)])


def render_tutorial(params, config, origin, direction, near, far):
    """``render_rays`` of the 100-line NeRF without its jitter: bins read at their near end."""
    t = np.linspace(near, far, config.num_samples)
    edges = np.append(t, far)
    lengths = np.append(np.diff(t), 1e10)
    inputs = encode(config, origin, direction, t)
    return march(tutorial_network, params["params"], config, direction, inputs, lengths, edges)[1]


def render_nerf(params, config, origin, direction, near, far):
    """NeRF, Section 5.2, without its jitter: the fine network reads where the coarse one saw."""

    def network(layers, x, d):
        return nerf_network(layers, x, d, config.depth, config.skip)

    def see(name, edges):
        layers, inputs = params[name]["params"], encode(config, origin, direction, middles(edges))
        return march(network, layers, config, direction, inputs, np.diff(edges), edges)

    coarse_edges = np.linspace(near, far, config.num_coarse + 1)
    w, coarse = see("coarse", coarse_edges)
    floor = 1e-5 * sum(w)
    drawn = invert_cdf(np.linspace(0, 1, config.num_fine), coarse_edges, w + floor)
    return coarse, see("fine", np.sort(np.concatenate([coarse_edges, drawn])))[1]


def render_mip(params, config, origin, direction, radius, near, far):
    """mip-NeRF without its jitter: the same network, twice."""

    def network(layers, x, d):
        sigma, rgb = nerf_network(
            layers, x, d, config.depth, config.skip, lambda raw: softplus(raw - 1)
        )
        return sigma, rgb * (1 + 2 * config.color_padding) - config.color_padding

    def see(edges):
        frusta = [frustum(origin, direction, radius, *ends) for ends in itertools.pairwise(edges)]
        inputs = [integrated(*gaussian, config.position_bands) for gaussian in frusta]
        return march(network, params["params"], config, direction, inputs, np.diff(edges), edges)

    coarse_edges = np.linspace(near, far, config.num_samples + 1)
    w, coarse = see(coarse_edges)
    w = blur_weights(w, config.resample_padding)
    quantiles = np.linspace(0, 1, config.num_samples + 1)
    return coarse, see(invert_cdf(quantiles, coarse_edges, w + 1e-5 * sum(w)))[1]


# ------------------------------------------------------------------------------- training


def tutorial_layers(params) -> list[np.ndarray]:
    """The kernels and biases of the 100-line NeRF, from its input to its output, in float64."""
    names = [*(f"block1_{i}" for i in range(4)), *(f"block2_{i}" for i in range(3))]
    names += ["to_features", "block3", "block4"]
    dense = [params["params"][name]["Dense_0"] for name in names]
    return [np.array(layer[kind], np.float64) for layer in dense for kind in ("kernel", "bias")]


def tutorial_gradient(layers, config, origin, direction, t, target) -> list[np.ndarray]:
    """The gradient of the 100-line NeRF's loss by hand: the sum over rays and channels of squares.

    Args:
        layers: of :func:`tutorial_layers`.
        config: with the encodings' bands.
        origin, direction, t, target: [R, 3], [R, 3], [R, S] and [R, 3].
    """
    (rays, samples), kernels, biases = t.shape, layers[::2], layers[1::2]
    inputs, slopes = [None] * 10, [None] * 20

    def forward(number: int, x: np.ndarray) -> np.ndarray:
        inputs[number] = x
        return x @ kernels[number] + biases[number]

    def backward(number: int, slope: np.ndarray) -> np.ndarray:
        slopes[2 * number : 2 * number + 2] = inputs[number].T @ slope, slope.sum(axis=0)
        return slope @ kernels[number].T

    def encoded(points: np.ndarray, bands: int) -> np.ndarray:
        waves = [f(2.0**band * points) for band in range(bands) for f in (np.sin, np.cos)]
        return np.concatenate([points, *waves], axis=1)

    places = origin[:, None] + t[:, :, None] * direction[:, None]
    x = encoded(places.reshape(-1, 3), config.position_bands)
    d = encoded(np.repeat(direction, samples, axis=0), config.direction_bands)
    outs = [x]
    for number in range(7):
        outs.append(relu(forward(number, outs[-1])))
        if number == 3:
            outs[-1] = np.concatenate([outs[-1], x], axis=1)
    last = forward(7, outs[-1])
    sigma = relu(last[:, -1]).reshape(rays, samples)
    h = relu(forward(8, np.concatenate([last[:, :-1], d], axis=1)))
    rgb = sigmoid(forward(9, h))
    delta = np.append(np.diff(t), np.full((rays, 1), 1e10), axis=1)
    tau = sigma * delta
    light = np.exp(tau - np.cumsum(tau, axis=1))
    w = light * -np.expm1(-tau)
    shades = rgb.reshape(rays, samples, 3)
    shown = np.einsum("rs,rsc->rc", w, shades) + 1 - w.sum(axis=1, keepdims=True)

    of_shown = 2 * (shown - target)
    of_w = np.einsum("rc,rsc->rs", of_shown, shades - 1)
    behind = np.cumsum((w * of_w)[:, ::-1], axis=1)[:, ::-1] - w * of_w
    of_sigma = (light * np.exp(-tau) * of_w - behind) * delta
    of_rgb = (w[..., None] * of_shown[:, None]).reshape(-1, 3)
    slope = backward(9, of_rgb * rgb * (1 - rgb)) * (h > 0)
    of_features = backward(8, slope)[:, : last.shape[1] - 1]
    of_raw = np.where(last[:, -1:] > 0, of_sigma.reshape(-1, 1), 0)
    slope = backward(7, np.concatenate([of_features, of_raw], axis=1))
    for number in range(6, -1, -1):
        width = kernels[number].shape[1]
        slope = backward(number, slope[:, :width] * (outs[number + 1][:, :width] > 0))
    return slopes
