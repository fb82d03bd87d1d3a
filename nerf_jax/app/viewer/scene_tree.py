"""The objects in the 3D scene: camera frustums, the crop box, the key frames."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import viser
from viser.transforms import SO3

from nerf_jax.app.viewer.picture import Crop
from nerf_jax.app.viewer.viewpoints import Photos, Viewpoint, viewpoints_along

_FRUSTUMS, _NODE = "/photos", "/photos/{:05d}"
_MAX_FRUSTUMS = 200  # of more cameras every k-th is shown: too many would hide the scene
_MIN_DISTANCE = 5.0  # in frustum sizes: a closer frustum would cover too much of the view

_LINES: dict[str, Any] = {"thickness": 2.0, "thickness_units": "screen"}
_FRUSTUM_COLOR, _KEY_COLOR, _CROP_COLOR = (60, 60, 70), (200, 60, 40), (240, 160, 0)

OPENCV = np.diag([1.0, -1.0, -1.0])
"""viser's cameras have y down and look along +z: multiply a rotation by this on the right."""


def add_frustums(
    scene: viser.SceneApi, photos: Photos, on_click: Callable[[int, int], None]
) -> dict[int, viser.CameraFrustumHandle]:
    """Show the training cameras to all clients; returns their frustums by the photos' indices.

    ``on_click`` is called with the client's id and the index of the photo.
    """
    frustums = {}
    scene.add_frame(_FRUSTUMS, show_axes=False)
    for index in range(0, len(photos.names), -(-len(photos.names) // _MAX_FRUSTUMS)):
        viewpoint = photos.viewpoint(index)
        handle = _frustum(
            scene, _NODE.format(index), viewpoint, photos.frustum_size, _FRUSTUM_COLOR
        )
        handle.on_click(lambda event, index=index: on_click(event.client_id, index))
        frustums[index] = handle
    return frustums


class SceneTree:
    """One client's objects: hidden frustums, the crop box, the key frames and their path."""

    def __init__(self, scene: viser.SceneApi, photos: Photos) -> None:
        self._scene, self._photos = scene, photos
        self._hidden: dict[str, viser.SceneNodeHandle] = {}
        self._crop: Crop | None = None
        self._box: viser.SceneNodeHandle | None = None
        self._keys: list[viser.SceneNodeHandle] = []

    def show_cameras(self, shown: bool, viewpoint: Viewpoint) -> None:
        """Show the frustums, except those close to the viewpoint, or hide all."""
        distances = np.linalg.norm(self._photos.origins - viewpoint.origin, axis=1)
        close = np.flatnonzero(distances < _MIN_DISTANCE * self._photos.frustum_size)
        hidden = {_NODE.format(index) for index in close.tolist()} if shown else {_FRUSTUMS}
        for name in self._hidden.keys() - hidden:
            self._hidden.pop(name).remove()
        for name in hidden - self._hidden.keys():
            # A client's node replaces the server's node of the same name.
            self._hidden[name] = self._scene.add_frame(name, show_axes=False, visible=False)

    def show_crop(self, crop: Crop | None) -> None:
        """Show the edges of the crop box."""
        if crop != self._crop:
            if self._box:
                self._box.remove()
            self._crop = crop
            self._box = crop and self._scene.add_line_segments(
                "/crop", box_edges(crop), colors=_CROP_COLOR, **_LINES
            )

    def show_keys(self, keys: Sequence[Viewpoint]) -> None:
        """Show the key frames and the camera path through them."""
        for handle in self._keys:
            handle.remove()
        size = self._photos.frustum_size / 2
        self._keys = [
            _frustum(self._scene, f"/keys/{index}", key, size, _KEY_COLOR)
            for index, key in enumerate(keys)
        ]
        if len(keys) > 1:
            origins = np.stack([view.origin for view in viewpoints_along(keys, 16 * len(keys))])
            segments = np.stack([origins[:-1], origins[1:]], axis=1)
            self._keys.append(
                self._scene.add_line_segments("/keys/path", segments, colors=_KEY_COLOR, **_LINES)
            )


def box_edges(crop: Crop) -> np.ndarray:
    """The twelve edges of a box, each from a corner to a corner: [12, 2, 3]."""
    corners = np.array(list(itertools.product(*zip(*crop, strict=True))))
    # Corners are numbered by the bits of their axes: an edge's two differ in one bit.
    pairs = [(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit]
    return corners[np.array(pairs)]


def _frustum(
    scene: viser.SceneApi, name: str, viewpoint: Viewpoint, size: float, color: tuple[int, int, int]
) -> viser.CameraFrustumHandle:
    return scene.add_camera_frustum(
        name,
        fov=viewpoint.fov_radians,
        aspect=viewpoint.aspect,
        scale=size,
        thickness=1.5,
        thickness_units="screen",
        color=color,
        wxyz=SO3.from_matrix(viewpoint.world_from_camera[:, :3] @ OPENCV).wxyz,
        position=viewpoint.origin,
    )
