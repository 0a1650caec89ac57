"""Pages: Python blocks of the README and of docs/python.md run as they stand, and every link leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUNNING = {
    page: re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    for page in ("docs/python.md", "README.md")
}
BLOCKS = list(dict.fromkeys(block for blocks in RUNNING.values() for block in blocks))  # some stand on both
HOUSE = ("agents", "checkpoints", "docs", "envs", "serving", "training")
PAGES = [ROOT / "README.md"]
PAGES += [p for room in HOUSE for p in (ROOT / room).rglob("*.md") if "node_modules" not in p.parts]
FENCED = re.compile(r"^```.*?^```", flags=re.DOTALL | re.MULTILINE)


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
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def anchors(page: Path) -> set[str]:
    """Where links into a page may lead: its headings, as GitHub names them."""
    names = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), flags=re.MULTILINE):
        words = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()
        names.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"`[^`]*`", "", FENCED.sub("", page.read_text()))
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        to = (page.parent / file).resolve() if file else page
        if not to.exists() or (anchor and anchor not in anchors(to)):
            lost.append(link)
    assert not lost
