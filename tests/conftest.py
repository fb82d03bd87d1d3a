"""Two virtual devices, checked shapes, strict broadcasting; warnings are errors (pyproject)."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_flags = ["--xla_force_host_platform_device_count=2"]
if os.environ["JAX_PLATFORMS"] == "cpu":
    # Tests compile much and run little: unoptimized, a training test takes half the time in all.
    _flags += ["--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false"]
# Once, although worker processes inherit them: they are part of the keys of the cache.
_inherited = os.environ.get("XLA_FLAGS", "").split()
os.environ["XLA_FLAGS"] = " ".join(_inherited + [f for f in _flags if f not in _inherited])
# Compiled programs are shared by the worker processes and kept for the next run.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import pytest
from jaxtyping import install_import_hook

from tests import typechecker

jax.config.update("jax_numpy_rank_promotion", "raise")
_package = ROOT / "nerf_jax"
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
    return Path(root).resolve()


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """The programs of equal configs are traced once, although each run builds its own."""
    from nerf_jax import methods
    from nerf_jax.app import fit, programs

    build, cached = methods.build, functools.cache(methods.build)

    def build_once(config: object, log_exposure: object = None) -> object:
        return cached(config) if log_exposure is None else build(config, log_exposure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "build", build_once)
        patch.setattr(fit, "make_optimizer", functools.cache(fit.make_optimizer))
        patch.setattr(programs, "make_train_steps", functools.cache(programs.make_train_steps))
        yield


@pytest.fixture
def no_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow as it is without the package that reads HEIC, which may be installed."""
    from PIL import Image

    from nerf_jax.data import images

    monkeypatch.setattr(images, "_register_heif", lambda: None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    for suffix in images.HEIF_SUFFIXES:
        monkeypatch.delitem(Image.EXTENSION, suffix, raising=False)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for browsers, threads and processes."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, notebooks before all: no process waits for one at the end."""
    items.sort(key=lambda item: (item.name.split("[")[0] != "test_notebook_runs", not slow(item)))


def slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None
