"""Train, evaluate and render radiance fields: ``python run.py --help``."""

import sys

from nerf_jax.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
