"""The old names of moved modules."""

import subprocess
import sys

import pytest

SCRIPT = """
import importlib, sys, warnings
import nerf_jax
from nerf_jax._moved import MOVED
assert not {'jax', 'numpy', 'nerf_jax.app'} & set(sys.modules), "the names load nothing"
for old, new in MOVED.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(f"from nerf_jax import {old.removeprefix('nerf_jax.')} as found")
    (warning,) = [each for each in caught if "has moved" in str(each.message)]
    assert warning.category is DeprecationWarning
    assert str(warning.message) == f"{old} has moved: import {new} instead"
    assert warning.filename == "<string>", "the warning names the line of the import"
    assert found is importlib.import_module(new) is importlib.import_module(old)
    assert found.__name__ == found.__spec__.name == new
from nerf_jax.app.scene_cameras import SceneCameras, SplitCameras
from nerf_jax.setting import Setting, Shots
assert (Setting, Shots) == (SceneCameras, SplitCameras)
"""


@pytest.mark.slow
def test_an_old_name_warns_and_gives_the_module_of_the_new_name():
    finished = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
