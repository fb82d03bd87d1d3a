"""Neural radiance fields in pure JAX: from images to a scene one can fly through.

The way of a ray through the files: ``cameras`` casts it, ``sampling`` cuts it into intervals,
``fields`` are read there, ``compositing`` integrates, ``render`` does so for many rays, ``model``
makes a method of them and ``train`` fits it. ``types`` holds the contracts between them.
"""

__version__ = "0.1.0"

from nerf_jax import _moved as _moved
