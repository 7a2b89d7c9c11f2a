"""How a script ends."""

import subprocess
import sys

from support.paths import RECIPES


def test_a_mistake_at_the_command_line_is_one_sentence_and_status_2():
    command = [sys.executable, str(RECIPES / "stock.py"), "--dataset", "no/such/place"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --dataset no/such/place")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    debugged = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert "Traceback" in debugged.stderr
