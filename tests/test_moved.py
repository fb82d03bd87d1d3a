"""The old names of moved modules."""

import subprocess
import sys

import pytest

from nerf_jax._moved import MOVED

IMPORT_BOTH = """
import importlib, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {statement}
(warning,) = [each for each in caught if "has moved" in str(each.message)]
assert warning.category is DeprecationWarning
assert str(warning.message) == "{old} has moved: import {new} instead"
assert warning.filename == "<string>", "the warning names the line of the import"
assert found is importlib.import_module("{new}")
assert found.__name__ == found.__spec__.name == "{new}"
"""


def run(script: str) -> None:
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_name_warns_and_gives_the_module_of_the_new_name(old: str, new: str):
    statement = f"from nerf_jax import {old.removeprefix('nerf_jax.')} as found"
    run(IMPORT_BOTH.format(statement=statement, old=old, new=new))


def test_an_old_class_is_the_new_one():
    run(
        "from nerf_jax.setting import Setting, Shots\n"
        "from nerf_jax.app.scene_cameras import SceneCameras, SplitCameras\n"
        "assert (Setting, Shots) == (SceneCameras, SplitCameras)"
    )


def test_the_old_names_load_nothing_by_themselves():
    run("import sys, nerf_jax\nassert not {'jax', 'numpy', 'nerf_jax.app'} & set(sys.modules)")
