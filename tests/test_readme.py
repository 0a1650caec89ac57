"""Pages: Python blocks of the README and of docs/python.md run as they stand, commands are known to the command line,
and every link leads somewhere."""

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest
import typer
from typer.core import TyperGroup

import cityloop
from envs.core.registry import SYSTEMS
from tests.data import FOLDER
from verbs import variants

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


def commands(page: Path) -> list[str]:
    """The commands in a page's blocks, each on one line, with variables and braces expanded as a shell does."""
    found = []
    for block in FENCED.findall(page.read_text()):
        known: dict[str, str] = {}
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            told = re.fullmatch(r'(\w+)="(.*)"', line)
            if told:
                known[told[1]] = told[2]
            plain = Template(line).safe_substitute(known)
            if re.match(r"(\w+=\S+ )*cityloop ", plain):
                found.append(plain.partition("cityloop ")[2])
    return found


def words_of(command: str) -> list[str]:
    words = []
    for word in shlex.split(command, comments=True):
        parts = [part.split(",") if k % 2 else [part] for k, part in enumerate(re.split(r"\{(.*?)\}", word))]
        words += ["".join(choice) for choice in itertools.product(*parts)]
    return words


COMMANDS = list(dict.fromkeys(itertools.chain.from_iterable(map(commands, PAGES))))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split("#")[0])
def test_commands_are_known(command):
    """Verbs, options, shipped scenarios and their settings; nothing is run."""
    verb, words = typer.main.get_command(cityloop.app), words_of(command)
    while isinstance(verb, TyperGroup):
        name, verb, words = verb.resolve_command(verb.context_class(verb), words)
    given = verb.make_context(name, words).params
    named = given.get("scenarios") or given.get("scenario") or ()
    for ref in (named,) if isinstance(named, str) else named:
        if ref == "transit/nyc2015" and not (FOLDER / ref).is_dir():
            pytest.skip(f"its days are not in {FOLDER}")
        if ref.partition("/")[0] in SYSTEMS:
            variants(ref, given.get("settings"), given.get("each"))


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
