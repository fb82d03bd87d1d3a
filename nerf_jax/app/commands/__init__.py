"""The commands of ``run.py``: a file each, which says what may be asked for and does it."""
