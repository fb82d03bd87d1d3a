"""The viewer: a scene in the browser, for as many visitors as come, also while it is learned.

``stage`` holds the scene as it is shown, ``server`` the page's address, ``visitor`` what one page
shows, with ``controls``; ``eye`` sees the scene for all of them, ``pace`` says how large a picture
may be, ``picture`` paints it. ``photos`` are the training cameras', ``keyframes`` the way of a
camera through what was marked, ``works`` what buttons make.
"""

from nerf_jax.app.viewer.photos import Photos
from nerf_jax.app.viewer.scene_state import Learning, Stage
from nerf_jax.app.viewer.server import Viewer, check_port

__all__ = ["Learning", "Photos", "Stage", "Viewer", "check_port"]
