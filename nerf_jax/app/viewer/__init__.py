"""The viewer: a scene, trained or in training, in the browser.

``server`` creates a ``client`` for each open page, with ``controls``, a ``scene_tree``, a
``render_loop`` and ``jobs``. All clients share one ``scene_state`` and one renderer (``picture``).
"""

from nerf_jax.app.viewer.scene_state import LiveTraining
from nerf_jax.app.viewer.server import Viewer, open_viewer
from nerf_jax.app.viewer.viewpoints import Photos

__all__ = ["LiveTraining", "Photos", "Viewer", "open_viewer"]
