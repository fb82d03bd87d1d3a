"""The scripts of ``benchmarks`` import each other by their names."""

import sys

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
