"""The viewer's server: its address, its clients, and the objects that they share."""

import contextlib
import io
import socket
import threading
import warnings
from dataclasses import replace

import jax
import numpy as np
import viser
from jaxtyping import Shaped

from nerf_jax.app.progress import say
from nerf_jax.app.trained import Trained
from nerf_jax.app.viewer.access import guarded, make_token
from nerf_jax.app.viewer.client import Client
from nerf_jax.app.viewer.controls import TrainingPanel
from nerf_jax.app.viewer.picture import Crop, ViewRenderer
from nerf_jax.app.viewer.scene_state import LiveTraining, SceneState
from nerf_jax.app.viewer.scene_tree import add_frustums
from nerf_jax.app.viewer.viewpoints import Photos
from nerf_jax.config import Config
from nerf_jax.types import Model

HOST = "127.0.0.1"
"""The default: only this machine can connect; others use an SSH tunnel."""

_THUMBNAIL_SIDE = 96


class Viewer:
    """The page of a run with a config and its model, served from threads until it is closed.

    ``port`` is the first one tried. Beyond loopback, the address has a token. Raises an OSError if
    no port is free.
    """

    def __init__(
        self, scene_state: SceneState, config: Config, model: Model, port: int, host: str = HOST
    ) -> None:
        self.clients: dict[int, Client] = {}
        self._is_open, self._adding_photos = True, threading.Lock()
        self.scene_state, photos = scene_state, scene_state.photos
        self._crop_limits = crop_limits(config, photos)
        self._renderer = ViewRenderer(config, model)
        if scene_state.scene:
            self._renderer.warm_up(scene_state.scene)
        free, token = free_port(port, host=host), make_token(host)
        with contextlib.redirect_stdout(io.StringIO()), guarded(token):  # viser's own messages
            self._server = viser.ViserServer(host, free, label="nerf_jax", verbose=False)
        self.port = self._server.get_port()
        name = socket.gethostname() if host in ("0.0.0.0", "::") else host
        name = f"[{name}]" if ":" in name else name
        self.url = f"http://{name}:{self.port}" + (f"/?token={token}" if token else "")
        if self.port != port:
            say(f"port {port} is taken: {self.port} instead")
        # A page may be closed while a message is sent to it.
        warnings.filterwarnings("ignore", "Queued a .* on a closed connection")
        # viser's share button would make the page public.
        self._server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._set_initial_camera()
        self._frustums = add_frustums(self._server.scene, photos, self._move_client)
        if isinstance(scene_state, LiveTraining):
            TrainingPanel(self._server.gui, scene_state, lambda: bool(self.clients))
        self._server.on_client_connect(self._connect)
        self._server.on_client_disconnect(self._disconnect)
        say(f"viewer: {self.url}")
        if token is None:
            tunnel = f"ssh -L {self.port}:{host}:{self.port} {socket.gethostname()}"
            say(f"  from another machine: {tunnel}, and the same address there")

    def add_photos(self, pixels: Shaped[np.ndarray, "N H W C"]) -> None:
        """Show the photos, once their pixels have been read."""
        self.scene_state.photos = photos = replace(self.scene_state.photos, pixels=pixels)
        with self._adding_photos:
            for index, frustum in self._frustums.items():
                if not self._is_open:
                    return
                frustum.image = photos.thumbnail(index, _THUMBNAIL_SIDE)
            for client in list(self.clients.values()):
                client.update_photo()

    def close(self) -> None:
        """Disconnect all clients and stop the server."""
        self._is_open = False
        for client in list(self.clients.values()):
            client.close()
        with self._adding_photos, contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def _connect(self, handle: viser.ClientHandle) -> None:
        client = Client(handle, self.scene_state, self._renderer, self._crop_limits)
        self.clients[handle.client_id] = client
        if handle.client_id not in self._server.get_clients():  # closed meanwhile
            self._disconnect(handle)

    def _disconnect(self, handle: viser.ClientHandle) -> None:
        client = self.clients.pop(handle.client_id, None)
        if client:
            client.close()

    def _move_client(self, client_id: int, index: int) -> None:
        if client_id in self.clients:
            self.clients[client_id].move_to(self.scene_state.photos.viewpoint(index))

    def _set_initial_camera(self) -> None:
        photos, camera = self.scene_state.photos, self._server.initial_camera
        viewpoint, distance = photos.initial_viewpoint(), photos.focus_distance
        camera.position, camera.look_at = viewpoint.origin, photos.orbit_center(viewpoint)
        camera.up, camera.fov = np.array([0.0, 0.0, 1.0]), viewpoint.fov_radians
        camera.near, camera.far = 1e-3 * distance, 1e3 * distance


def open_viewer(scene: Trained, port: int, host: str = HOST) -> Viewer:
    """Open the viewer of a trained scene; a ValueError if it was trained on rays without cameras.

    Raises an OSError as :class:`Viewer` does.
    """
    cameras = jax.tree.map(np.asarray, scene.cameras())
    names, _, size_hw, _ = scene.all_cameras.splits["train"]
    state = SceneState(Photos(names, cameras, size_hw), scene)
    return Viewer(state, scene.config, scene.model, port, host)


def free_port(port: int, tries: int = 100, host: str = HOST) -> int:
    """The first free port from the given one on; an OSError if all ``tries`` are taken."""
    end = min(port + tries, 65536)
    for candidate in range(port, end):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as test, contextlib.suppress(OSError):
            test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            test.bind((host, candidate))
            return candidate
    raise OSError(f"no port from {port} to {end - 1} is free on {host}: choose another by --port")


def crop_limits(config: Config, photos: Photos) -> Crop:
    """The largest crop box: the method's scene box if it has one, else a cube around the focus."""
    if config.model.bounded and config.model.scene_box:
        return config.model.scene_box
    center, half = photos.focus, 1.5 * photos.focus_distance
    low, high = (tuple((center + sign * half).tolist()) for sign in (-1, 1))
    return low, high
