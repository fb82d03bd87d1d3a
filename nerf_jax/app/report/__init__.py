"""The report of a run, and the comparison of several: HTML pages that are one file each.

:mod:`nerf_jax.app.report.record` reads the files of a run; the other modules turn them into texts,
pictures and plots, and the templates in ``pages/`` lay these out.
"""

from nerf_jax.app.report.card import card, card_of
from nerf_jax.app.report.plots import write_curves
from nerf_jax.app.report.record import read
from nerf_jax.app.report.single import write_report

__all__ = ["card", "card_of", "read", "write_curves", "write_report"]
