"""What is left of a launch that fails: what its processes said, and their status."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys, time
if os.environ["RANK"] == "1":
    {end}
time.sleep(60)
"""


def launched(folder, code):
    """Start two processes of a script as the Makefile does."""
    (script := folder / "script.py").write_text(code)
    flags = ("--num_machines=1", "--main_process_port=0", "--num_processes=2", "--mixed_precision=no")
    command = [
        sys.executable,
        "-m",
        "bert_recipes.cli.launch",
        "--multi_gpu",
        *flags,
        "--dynamo_backend=no",
        str(script),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("end", "status", "stderr"),
    [
        ("sys.exit('error: there is no such file.')", 1, "error: there is no such file.\n"),
        ("sys.exit(2)", 2, ""),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            2,
            "error: process 1 was ended by SIGKILL: once that is mended the same command goes on from what is "
            "there.\n",
        ),
    ],
)
def test_a_launch_ends_as_the_process_that_failed_first(tmp_path, end, status, stderr):
    process = launched(tmp_path, SCRIPT.format(end=end))
    assert (process.communicate()[1], process.returncode) == (stderr, status)


def test_a_launch_that_is_ended_says_nothing_of_its_own(tmp_path):
    process = launched(
        tmp_path, "import os, time\nos.environ['RANK'] == '0' and print('here', flush=True)\ntime.sleep(60)\n"
    )
    assert process.stdout.readline() == "here\n"
    process.terminate()
    _, stderr = process.communicate(timeout=40)
    assert (process.returncode, stderr) == (128 + signal.SIGTERM, "")
