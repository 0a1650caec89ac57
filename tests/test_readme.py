"""Every Python block of the README runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("k", range(len(BLOCKS)), ids=[re.search(r"\w+_?\w*\(", b).group()[:-1] for b in BLOCKS])
def test_block_runs(k, tmp_path):
    script = tmp_path / "block.py"
    script.write_text(BLOCKS[k])
    done = subprocess.run(
        [sys.executable, script],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
