"""Pages with a small still picture: of full size, it takes unoptimized programs 10 seconds."""

from collections.abc import Iterator

import pytest

from nerf_jax.app import page


@pytest.fixture(scope="session", autouse=True)
def small_stills() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "STILL_SIDE", 64)
        yield
