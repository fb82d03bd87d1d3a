"""The program around the algorithm: runs, videos, meshes, reports, the viewer, the commands."""
