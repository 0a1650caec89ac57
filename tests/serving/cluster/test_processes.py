"""What is read of processes, whatever they call themselves."""

import os
import subprocess
import sys

from serving.cluster.processes import alive, family, processor_s

PROGRAM = """
import sys
name = "ä" * 8 if sys.argv[1] == "cut" else ") Z 1 ("
open("/proc/self/comm", "wb").write(name.encode())
sum(range(3_000_000))  # some processor time
print(flush=True)
sys.stdin.read()
"""


def test_a_name_may_be_cut_inside_a_letter_or_have_brackets() -> None:
    for name in ("cut", "brackets"):
        program = [sys.executable, "-c", PROGRAM, name]
        one = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert one.stdout is not None
            one.stdout.readline()
            assert one.pid in family(os.getpid())
            assert alive(one.pid)
            assert processor_s(one.pid) > 0
        finally:
            one.communicate()
        assert not alive(one.pid)
        assert processor_s(one.pid) == 0
