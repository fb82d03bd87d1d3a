"""A run as a page to keep and to share: one file of HTML, with everything in it.

A page is made of what the run has written (:mod:`nerf_jax.app.report.record`), turned into words,
pictures and drawings here, and laid out by the templates in ``pages/``.
"""

from nerf_jax.app.report.card import card, card_of
from nerf_jax.app.report.comparison import compare
from nerf_jax.app.report.record import read
from nerf_jax.app.report.single import write_report

__all__ = ["card", "card_of", "compare", "read", "write_report"]
