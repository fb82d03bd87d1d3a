"""The old names of moved modules, for one release: importing one warns and gives the new module."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from types import ModuleType

MOVED = {
    "nerf_jax.model": "nerf_jax.methods",
    "nerf_jax.runs": "nerf_jax.app.runs",
    "nerf_jax.setting": "nerf_jax.app.scene_cameras",
    "nerf_jax.show": "nerf_jax.app.notebook",
    "nerf_jax.trained": "nerf_jax.app.trained",
}
RENAMED = {"nerf_jax.setting": {"Setting": "SceneCameras", "Shots": "SplitCameras"}}


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules by their old names; it comes last in ``sys.meta_path``."""

    def find_spec(
        self, name: str, path: object, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a moved module; None for any other name."""
        return importlib.machinery.ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the new name in the place of the empty one of the old name."""
        old, new = module.__name__, MOVED[module.__name__]
        warnings.warn(f"{old} has moved: import {new} instead", DeprecationWarning, stacklevel=2)
        sys.modules[old] = found = importlib.import_module(new)
        for before, now in RENAMED.get(old, {}).items():
            setattr(found, before, getattr(found, now))


sys.meta_path.append(MovedModules())
