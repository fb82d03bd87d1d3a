"""Two virtual devices, checked shapes, strict broadcasting; warnings are errors (pyproject)."""

import os
import tempfile

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Many tests compile the same small programs: once is enough.
_cache = tempfile.TemporaryDirectory(prefix="nerf_jax-tests-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

from tests import typechecker

jax.config.update("jax_numpy_rank_promotion", "raise")
_package = Path(__file__).parents[1] / "nerf_jax"
# For as long as the tests run. Not the commands, whose required options are a marker of tyro's
# until they are parsed.
_folders = [(_package, "nerf_jax"), (_package / "app", "nerf_jax.app")]
_checked = [
    f"{package}.{path.stem}"
    for folder, package in _folders
    for path in folder.iterdir()
    if path.stem not in ("__init__", "app", "commands")
]
install_import_hook(_checked, f"{typechecker.__name__}.check")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scenes; tests that need it are skipped where there is none."""
    root = os.environ.get("NERF_JAX_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("real scenes are absent: set NERF_JAX_DATA to the folder that holds them")
    return Path(root)
