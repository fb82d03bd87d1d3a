"""Image metrics: PSNR and SSIM."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def psnr(mse: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Peak signal-to-noise ratio in decibels, of a mean squared error of values in [0, 1]."""
    # 1e-10 is 100 dB, beyond 8-bit images (59 dB at half a level): identical images stay finite.
    return -10.0 * jnp.log10(jnp.maximum(mse, 1e-10))


def ssim(
    image: Float[Array, "H W C"],
    truth: Float[Array, "H W C"],
    mask: Bool[Array, "H W"] | None = None,
) -> Float[Array, ""]:
    """Structural similarity (Wang et al., 2004), of values in [0, 1].

    The original's window, an 11x11 Gaussian with a standard deviation of 1.5 pixels; the mean is
    over channels and over the positions where the window fits, and where all its pixels are valid
    if there is a mask. NaN: there is no such position.

    Raises:
        ValueError: the image is smaller than the window.
    """
    if min(image.shape[:2]) < 11:
        raise ValueError(f"ssim needs images of at least 11x11 pixels, not {image.shape}")
    x, y = jnp.moveaxis(image, -1, 0), jnp.moveaxis(truth, -1, 0)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    similarity = jnp.mean(luminance * structure, axis=0)
    if mask is None:
        return jnp.mean(similarity)
    valid = _blur(mask[None] * 1.0)[0] > 1 - 1e-5
    return jnp.sum(jnp.where(valid, similarity, 0.0)) / jnp.sum(valid)


def _blur(planes: Float[Array, "C H W"]) -> Float[Array, "C H-10 W-10"]:
    """Filter with the separable window, where it fits."""
    offsets = jnp.arange(-5, 6)
    window = jnp.exp(-0.5 * (offsets / 1.5) ** 2)
    window = window / jnp.sum(window)
    # Full precision: on accelerators the default rounds the products, and variances cancel.
    convolve = jax.vmap(lambda row: jnp.convolve(row, window, "valid", precision="highest"))
    down_rows = jax.vmap(convolve)(planes)
    return jnp.swapaxes(jax.vmap(convolve)(jnp.swapaxes(down_rows, 1, 2)), 1, 2)
