"""The viewer's page: where it is, who is there, and how training goes."""

import contextlib
import io
import socket
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import viser

from nerf_jax.app.progress import say
from nerf_jax.app.viewer.client import Visitor
from nerf_jax.app.viewer.photos import Photos
from nerf_jax.app.viewer.scene_state import Learning, Stage
from nerf_jax.app.viewer.scene_tree import Frustums
from nerf_jax.app.viewer.training import Training
from nerf_jax.app.viewer.view_renderer import Crop, Eye
from nerf_jax.config import Config
from nerf_jax.config.checks import require
from nerf_jax.types import Model

HOST = "127.0.0.1"
"""Nobody else is let in: who is elsewhere comes through SSH."""


class Viewer:
    """The page, served from threads of its own until it is closed.

    Args:
        stage: the scene.
        config: the run's.
        method: the config's.
        photos: where they were taken; they themselves may come later, by :meth:`hang`.
        port: the first one to try.
        learning: training, if it goes on.

    Raises:
        OSError: no port is free.
    """

    def __init__(
        self,
        stage: Stage,
        config: Config,
        method: Model,
        photos: Photos,
        port: int,
        learning: Learning | None = None,
    ) -> None:
        self.visitors: dict[int, Visitor] = {}
        self._is_open, self._hanging = True, threading.Lock()
        self._stage, self._photos, self.learning = stage, photos, learning
        self._extent = extent_of(config, photos)
        self._eye = Eye(config, method)
        if stage.scene:
            self._eye.warm_up(stage.scene)
        free = free_port(port)
        with _quietly():
            self._server = viser.ViserServer(HOST, free, label="nerf_jax", verbose=False)
        self.port = self._server.get_port()
        if self.port != port:
            say(f"port {port} is taken: {self.port} instead")
        # Who leaves while something is on its way to them is no reason to say so.
        warnings.filterwarnings("ignore", "Queued a .* on a closed connection")
        # A link that lets in everybody is not ours to give.
        self._server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._look_first(photos)
        self._frustums = Frustums(self._server.scene, photos, self._go)
        if learning:
            Training(self._server.gui, learning, lambda: bool(self.visitors))
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._part)
        say(f"viewer: {self.url}")
        say(f"  from another machine: {ssh_line(self.port)}, and the same address there")

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def hang(self, photos: Photos) -> None:
        """Show the photos beside the scene, now that they are read."""
        self._photos = photos
        with self._hanging:
            self._frustums.hang(photos, lambda: self._is_open)
            for visitor in list(self.visitors.values()):
                visitor.photos = photos
                visitor.compare_again()

    def close(self) -> None:
        """Send everybody away."""
        self._is_open = False
        for visitor in list(self.visitors.values()):
            visitor.leave()
        with self._hanging, _quietly():  # nothing is on its way any more
            self._server.stop()

    def _welcome(self, client: viser.ClientHandle) -> None:
        number = client.client_id
        self.visitors[number] = Visitor(
            client, self._stage, self._eye, self._photos, self._extent, self.learning
        )
        # What has happened since: the photos may have come, and the visitor gone.
        self.visitors[number].photos = self._photos
        if number not in self._server.get_clients():
            self._part(client)

    def _part(self, client: viser.ClientHandle) -> None:
        visitor = self.visitors.pop(client.client_id, None)
        if visitor:
            visitor.leave()

    def _go(self, client_id: int, number: int) -> None:
        if client_id in self.visitors:
            self.visitors[client_id].go(self._photos.view(number))

    def _look_first(self, photos: Photos) -> None:
        view, first = photos.typical(), self._server.initial_camera
        first.position, first.look_at = view.origin, photos.pivot(view)
        first.up, first.fov = np.array([0.0, 0.0, 1.0]), view.fov_radians
        first.near, first.far = 1e-3 * photos.reach, 1e3 * photos.reach


def check_port(port: int) -> None:
    """Raise a ValueError if there is no such port."""
    require(1 <= port <= 65535, "port", port, "between 1 and 65535")


def free_port(port: int, tries: int = 100) -> int:
    """The first port from the one wanted that nobody listens at.

    Raises:
        OSError: none of so many is.
    """
    last = min(port + tries, 65536)
    for candidate in range(port, last):
        with socket.socket() as test, contextlib.suppress(OSError):
            test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            test.bind((HOST, candidate))
            return candidate
    raise OSError(f"no port from {port} to {last - 1} is free: choose another by --port")


def ssh_line(port: int) -> str:
    """What brings the page to another machine."""
    return f"ssh -L {port}:{HOST}:{port} {socket.gethostname()}"


def extent_of(config: Config, photos: Photos) -> Crop:
    """How far there is something to see: the method's box if it has one, or around the focus."""
    if config.model.bounded and config.model.scene_box:
        return config.model.scene_box
    center, half = photos.focus, 1.5 * photos.reach
    low, high = (tuple((center + sign * half).tolist()) for sign in (-1, 1))
    return low, high


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What viser prints is said better by us."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
