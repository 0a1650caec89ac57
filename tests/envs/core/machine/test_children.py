"""Child processes: their initial environment and modules."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envs.core.machine.children import CONTEXT, THREADS, start_child


def environment(pipe, *names):
    pipe.send([os.environ.get(name) for name in names])


def parent(pipe):
    pipe.send(os.getppid())


def knows(pipe, name):
    pipe.send(name in sys.modules)


def answer(target, *arguments):
    ours, theirs = CONTEXT.Pipe(duplex=False)
    child = start_child(target, theirs, *arguments)
    theirs.close()
    try:
        return ours.recv()
    finally:
        ours.close()
        child.join()


@pytest.mark.parametrize("value", ["first", "second", None])
def test_a_child_has_its_parents_environment_of_that_moment(value, monkeypatch):
    """Not that of the fork server, which began once; but for threads: there are as many children as cores."""
    if value is None:
        monkeypatch.delenv("CITYLOOP_TRIED", raising=False)
    else:
        monkeypatch.setenv("CITYLOOP_TRIED", value)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert answer(environment, "CITYLOOP_TRIED", *THREADS) == [value, *["1"] * len(THREADS)]
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_children_are_of_one_process_that_has_imported_what_they_run():
    parents = {answer(parent) for _ in range(2)}
    assert len(parents) == 1
    assert os.getpid() not in parents


SYSTEM = """
if __name__ == "__main__":
    import envs.intersections.features
    from tests.envs.core.machine.test_children import answer, knows

    print(answer(knows, "envs.intersections.features"), answer(knows, "envs.drainage.features"))
"""


def test_children_share_what_their_parent_had_imported_of_ours(tmp_path):
    """A system that the parent has imported is there in the child from its start; others are not."""
    script = tmp_path / "script.py"
    script.write_text(SYSTEM)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    done = subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"]
