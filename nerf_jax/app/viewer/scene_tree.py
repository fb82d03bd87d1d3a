"""What is drawn beside the scene: the training cameras, the crop box, the key frames."""

from collections.abc import Callable, Sequence

import numpy as np
import viser
from viser.transforms import SO3

from nerf_jax.app.viewer.keyframes import views_along
from nerf_jax.app.viewer.photos import Photos
from nerf_jax.app.viewer.picture import View
from nerf_jax.app.viewer.view_renderer import Crop

_FRUSTUMS = "/photos"
_MOST = 200
"""Cameras that are drawn: of more, every so manieth, or nothing could be seen for them."""
_THUMBNAIL = 96
_OF_KEYS = 200, 60, 40
_CLOSE = 5.0
"""A camera's distance over its size, below which it fills too much of the view."""

OPENCV = np.diag([1.0, -1.0, -1.0])
"""viser's cameras have y down and look along z: on the right of a rotation of ours, or theirs."""


class Frustums:
    """The training cameras, the same for all visitors.

    Args:
        scene: of all of them.
        photos: what they took.
        go: what a click on one does, of the visitor who clicked and the photo's number.
    """

    def __init__(
        self, scene: viser.SceneApi, photos: Photos, go: Callable[[int, int], None]
    ) -> None:
        self._handles: dict[int, viser.CameraFrustumHandle] = {}
        scene.add_frame(_FRUSTUMS, show_axes=False)
        for number in range(0, len(photos.names), -(-len(photos.names) // _MOST)):
            view = photos.view(number)
            handle = _frustum(scene, _name(number), view, photos.spacing, (60, 60, 70))
            handle.on_click(lambda event, number=number: go(event.client_id, number))
            self._handles[number] = handle

    def hang(self, photos: Photos, go_on: Callable[[], bool]) -> None:
        """The photos themselves, once they have been read, for as long as somebody wants them."""
        for number, handle in self._handles.items():
            if not go_on():
                return
            handle.image = photos.picture(number, _THUMBNAIL)


class Beside:
    """What one visitor sees of that, and what is theirs alone."""

    def __init__(self, scene: viser.SceneApi, photos: Photos) -> None:
        self._scene, self._photos = scene, photos
        self._covers: dict[str, viser.SceneNodeHandle] = {}
        self._crop: Crop | None = None
        self._box: viser.SceneNodeHandle | None = None
        self._way: list[viser.SceneNodeHandle] = []

    def show_cameras(self, shown: bool, view: View) -> None:
        """Or not; and never those right before their eyes, whose photos would cover all else."""
        away = np.linalg.norm(self._photos.origins - view.origin, axis=1)
        close = np.flatnonzero(away < _CLOSE * self._photos.spacing)
        hidden = {_name(number) for number in close.tolist()} if shown else {_FRUSTUMS}
        for name in self._covers.keys() - hidden:
            self._covers.pop(name).remove()
        for name in hidden - self._covers.keys():
            # A node of theirs by the same name stands before everybody's.
            self._covers[name] = self._scene.add_frame(name, show_axes=False, visible=False)

    def show_crop(self, crop: Crop | None) -> None:
        """The edges of the box."""
        if crop == self._crop:
            return
        self._crop = crop
        if self._box:
            self._box.remove()
        self._box = crop and self._scene.add_line_segments(
            "/crop", edges(crop), colors=(240, 160, 0), thickness=2.0, thickness_units="screen"
        )

    def show_keys(self, keys: Sequence[View]) -> None:
        """The key frames, and the way through them."""
        for handle in self._way:
            handle.remove()
        self._way = [
            _frustum(self._scene, f"/keys/{number}", key, self._photos.spacing / 2, _OF_KEYS)
            for number, key in enumerate(keys)
        ]
        if len(keys) > 1:
            places = np.stack([view.origin for view in views_along(keys, 16 * len(keys))])
            way = np.stack([places[:-1], places[1:]], axis=1)
            self._way.append(
                self._scene.add_line_segments(
                    "/keys/way", way, colors=_OF_KEYS, thickness=2.0, thickness_units="screen"
                )
            )


def edges(crop: Crop) -> np.ndarray:
    """The twelve edges of a box, each from a corner to a corner: [12, 2, 3]."""
    corners = np.array(crop, float)
    found = []
    for axis in range(3):
        for first in (0, 1):
            for second in (0, 1):
                ends = np.empty((2, 3))
                ends[:, axis] = corners[:, axis]
                ends[:, axis - 1] = corners[first, axis - 1]
                ends[:, axis - 2] = corners[second, axis - 2]
                found.append(ends)
    return np.stack(found)


def _name(number: int) -> str:
    return f"{_FRUSTUMS}/{number:05d}"


def _frustum(
    scene: viser.SceneApi, name: str, view: View, size: float, color: tuple[int, int, int]
) -> viser.CameraFrustumHandle:
    return scene.add_camera_frustum(
        name,
        fov=view.fov_radians,
        aspect=view.aspect,
        scale=size,
        thickness=1.5,
        thickness_units="screen",
        color=color,
        wxyz=SO3.from_matrix(view.world_from_camera[:, :3] @ OPENCV).wxyz,
        position=view.origin,
    )
