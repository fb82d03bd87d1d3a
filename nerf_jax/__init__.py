"""Neural radiance fields in pure JAX: from photos to a scene that can be rendered from anywhere.

The algorithm is on the top level, one idea a file. In reading order:

- ``types``: the pytrees (rays, cameras, datasets) and the contracts (``Field``, ``Model``).
- ``numerics``: every singularity, with finite values and gradients.
- ``packing``: variable numbers of samples in buffers of static size.
- ``devices``: the mesh of devices over which rays are divided.
- ``cameras``, ``lenses``, ``cones``: from a pixel to its ray and back; distortion; footprints.
- ``sampling``: stratified samples and inverse transform sampling along a ray.
- ``encodings``: frequencies, integrated frequencies, spherical harmonics.
- ``hashgrid``: the multiresolution hash grid.
- ``fields``: all networks; the only file that imports Flax.
- ``contraction``: maps from the world to the unit cube: box, contracted, frustum.
- ``occupancy``: the occupancy grid, ray marching, and the cells that no camera sees.
- ``compositing``: transmittance, weights, colour, opacity, depth.
- ``losses``, ``metrics``: the terms of the training loss; PSNR and SSIM.
- ``render``, ``render_sparse``: dense rendering; evaluation of the samples that light reaches.
- ``wavefront``: the same samples without gradients, of all rays of an image, front to back.
- ``plane_sweep``: depths of textured surfaces, by which captures are supervised.
- ``pose_refinement``: camera poses as trainable parameters.
- ``camera_model``: exposure, white balance, vignetting and response as trainable parameters.
- ``train``: one step, compiled as a scan over many steps and several devices.

The program around it:

- ``methods``: a method is a function of a page that returns a ``Model``.
- ``config``, ``configs``: the config dataclasses, and the packaged config files.
- ``data``: loaders, a file for each format.
- ``scenes``: built-in scenes with exact answers.
- ``app``: command line, runs, checkpoints, evaluation, video, meshes, pages, viewer, reports.
"""

__version__ = "0.1.0"

from nerf_jax import _moved as _moved
