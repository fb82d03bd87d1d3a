"""The training photos, and what their cameras say of how to look at the scene."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from nerf_jax.app.images import to_uint8
from nerf_jax.app.scene_cameras import SplitCameras
from nerf_jax.app.viewer.picture import View
from nerf_jax.cameras import focus_point
from nerf_jax.compositing import pixel_over
from nerf_jax.data.files import optional_import
from nerf_jax.types import Cameras


@dataclass(frozen=True)
class Photos:
    """N photos."""

    names: tuple[str, ...]
    cameras: Cameras
    """NumPy arrays of N."""
    size_hw: tuple[int, int]
    """Of all of them."""
    pixels: Shaped[np.ndarray, "N H W C"] | None = None
    """As a dataset has them; None where there is none at hand."""

    @staticmethod
    def of(cameras: Cameras, shots: SplitCameras) -> "Photos":
        """Those that a run keeps, seen by its cameras as they were learned to be."""
        return Photos(shots.names, jax.tree.map(np.asarray, cameras), shots.size_hw)

    def view(self, number: int) -> View:
        """From where a photo was taken, its lens made straight."""
        height, width = self.size_hw
        focal = self.cameras.focal[number]
        return View(
            self._poses[number],
            float(2 * np.arctan(height / 2 / focal[1])),
            float(width / focal[0] * focal[1] / height),
        )

    @functools.cached_property
    def focus(self) -> Float[np.ndarray, "3"]:
        """What the cameras look at."""
        return focus_point(self._poses)

    @functools.cached_property
    def reach(self) -> float:
        """How far they are from it, on average."""
        return max(float(np.linalg.norm(self.origins - self.focus, axis=1).mean()), 1e-6)

    @functools.cached_property
    def spacing(self) -> float:
        """How large a camera may be drawn: half of what is mostly between two of them, if that is
        little beside the way to the focus.
        """
        apart = np.linalg.norm(self.origins[:, None] - self.origins, axis=-1)
        np.fill_diagonal(apart, np.inf)
        nearest = apart.min(axis=1)
        usual = np.median(nearest) if np.isfinite(nearest).all() else np.inf
        return float(np.clip(usual / 2, 1e-3 * self.reach, 0.08 * self.reach))

    @property
    def origins(self) -> Float[np.ndarray, "N 3"]:
        """Where they were taken."""
        return self._poses[:, :, 3]

    @property
    def _poses(self) -> Float[np.ndarray, "N 3 4"]:
        return np.asarray(self.cameras.world_from_camera, float)

    def nearest(self, view: View) -> int:
        """The photo that shows most of the same: a turn by a radian is as far as the focus."""
        away = np.linalg.norm(self.origins - view.origin, axis=1) / self.reach
        turn = np.arccos(np.clip(-self._poses[:, :, 2] @ view.ahead, -1, 1))
        return int(np.argmin(away + turn))

    def typical(self) -> View:
        """Where to look from at first: about as high as most photos, and in their midst."""
        offsets = self.origins - self.focus
        elevation = np.arctan2(offsets[:, 2], np.linalg.norm(offsets[:, :2], axis=1))
        usual = np.argsort(np.abs(elevation - np.median(elevation)))
        usual = usual[: -(-len(usual) // 3)]
        aside = np.linalg.norm((offsets - offsets.mean(axis=0))[usual], axis=1)
        return self.view(int(usual[np.argmin(aside)]))

    def pivot(self, view: View) -> Float[np.ndarray, "3"]:
        """What to turn around: the place in the middle of a view that is nearest to the focus."""
        distance = float((self.focus - view.origin) @ view.ahead)
        return view.origin + view.ahead * (distance if distance > 0.05 * self.reach else self.reach)

    def bounds(self, place: Float[np.ndarray, "3"]) -> tuple[float, float]:
        """Where rays from a place should start and end so that they miss nothing.

        The photos' own bounds suit the distance that they were taken from: who comes closer wants
        to see what is closer, who stands back what is farther.
        """
        near, far = float(np.min(self.cameras.near)), float(np.max(self.cameras.far))
        back = float(np.linalg.norm(place - self.focus)) - self.reach
        return max(min(near, near + back), _CLOSEST * near), max(far, far + back)

    def picture(self, number: int, longer_side: int) -> UInt8[np.ndarray, "h w 3"] | None:
        """A photo, on white, so many pixels wide or high; None if it is not at hand."""
        if self.pixels is None:
            return None
        pixels = np.asarray(self.pixels[number])
        values = pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
        photo = pixel_over(jnp.asarray(values), jnp.ones(3))
        pillow = optional_import("PIL.Image", "pillow")
        image, scale = (
            pillow.fromarray(to_uint8(np.asarray(photo))),
            longer_side / max(self.size_hw),
        )
        height, width = (max(1, round(side * scale)) for side in self.size_hw)
        return np.asarray(image.resize((width, height), pillow.Resampling.LANCZOS))


_CLOSEST = 0.02
"""The part of the photos' near that no ray starts before."""
