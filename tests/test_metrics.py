import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from nerf_jax import metrics
from nerf_jax.metrics import psnr

ssim = jax.jit(metrics.ssim)


def test_psnr_of_known_errors():
    np.testing.assert_allclose(psnr(jnp.array([1.0, 0.1, 0.01, 1e-4])), [0, 10, 20, 40], atol=1e-5)


def test_psnr_of_a_perfect_image_is_finite_and_the_highest():
    assert psnr(jnp.float32(0.0)) == 100
    assert psnr(jnp.float32(0.0)) > psnr(jnp.float32((0.5 / 255) ** 2))


def noise(rng, shape):
    return rng.uniform(size=shape)


def smooth(rng, shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    phases = rng.uniform(0, 6, size=shape[2])
    return 0.5 + 0.4 * np.sin(0.2 * x[..., None] + 0.1 * y[..., None] + phases)


def constant(rng, shape):
    return np.broadcast_to(rng.uniform(size=shape[2]), shape)


@pytest.mark.parametrize("kind", [noise, smooth, constant])
@pytest.mark.parametrize("amount", [0.02, 0.3])
@pytest.mark.parametrize("shape", [(24, 17, 3), (11, 11, 1)])
def test_ssim_equals_scikit_images(kind, amount: float, shape):
    rng = np.random.default_rng(0)
    truth = kind(rng, shape).astype(np.float32)
    image = np.clip(truth + amount * rng.normal(size=shape), 0, 1).astype(np.float32)
    reference = structural_similarity(
        image.astype(np.float64),
        truth.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=-1,
    )
    np.testing.assert_allclose(ssim(image, truth), reference, atol=1e-4)


def test_ssim_of_two_flat_pictures_is_that_of_their_luminances():
    image, truth = np.full((12, 12, 3), 0.4, np.float32), np.full((12, 12, 3), 0.6, np.float32)
    expected = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    np.testing.assert_allclose(ssim(image, truth), expected, atol=1e-3)


def test_ssim_of_an_image_with_itself_is_one():
    image = smooth(np.random.default_rng(0), (16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(ssim(image, image), 1, atol=1e-6)


def test_ssim_with_a_mask_is_that_of_the_valid_part():
    rng = np.random.default_rng(2)
    truth = smooth(rng, (30, 40, 3)).astype(np.float32)
    image = np.clip(truth + 0.1 * rng.normal(size=truth.shape), 0, 1).astype(np.float32)
    mask = np.zeros((30, 40), bool)
    mask[:25, :28] = True
    expected = ssim(image[:25, :28], truth[:25, :28])
    image[25:], image[:, 28:] = 0.0, 1.0  # padding, which differs
    np.testing.assert_allclose(ssim(image, truth, mask), expected, atol=1e-5)
    assert abs(ssim(image, truth) - expected) > 0.05


@pytest.mark.parametrize("shape", [(10, 40, 3), (40, 10, 3)])
def test_ssim_refuses_images_that_are_too_small(shape):
    with pytest.raises(ValueError, match=rf"11x11 pixels, not \({shape[0]}, {shape[1]}, 3\)"):
        metrics.ssim(jnp.zeros(shape), jnp.zeros(shape))
