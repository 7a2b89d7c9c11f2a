"""The Slurm script, as far as a machine without Slurm lets it go."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from support.interrupted import wait_for
from support.paths import ROOT

FAKES = {
    "scontrol": 'if [ "$1" = show ]; then printf "first\\nsecond\\n"; fi; echo "scontrol $*" >>"$CALLS"',
    # The step runs until it is signalled, as srun does, and ends with a status that says so.
    "srun": 'echo "srun" "$@" >>"$CALLS"; for w in "$@"; do echo "  $w" >>"$CALLS"; done\n'
    'shift; SLURM_NODEID=1 "$@" & pid=$!; echo $pid >"$STEP"; wait $pid',
    "scancel": 'echo "scancel $*" >>"$CALLS"; kill -TERM "$(cat "$STEP")"',
    ".venv/bin/python": 'echo python >>"$CALLS"; for w in "$@"; do echo "<$w>" >>"$CALLS"; done\n'
    'trap "exit 143" TERM; touch "$STARTED"; for _ in $(seq "$SECONDS_TO_RUN"); do sleep 0.1; done; exit "$STATUS"',
}


@pytest.fixture
def slurm(tmp_path):
    """A function that starts the Slurm script among programs that only write down how they were called."""
    for name, body in FAKES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def start(run_for, status):
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_GPUS_ON_NODE": "4",
            "SLURM_JOB_NODELIST": "gpu[1-2]",
            "SLURM_JOB_ID": "77",
            "SLURM_NNODES": "2",
            "SLURM_JOB_NUM_NODES": "2",
            "CALLS": str(tmp_path / "calls"),
            "STEP": str(tmp_path / "step"),
            "STARTED": str(tmp_path / "started"),
            "SECONDS_TO_RUN": str(run_for),
            "STATUS": str(status),
        }
        script = ["bash", str(ROOT / "recipes/launch/slurm.sh"), "recipes/custom.py", "--labels", "two words", "b"]
        return subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start, tmp_path


def test_the_slurm_script_passes_its_arguments_to_every_machine(slurm):
    start, folder = slurm
    process = start(1, 0)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 0, error
    calls = (folder / "calls").read_text()
    words = calls.split("python\n")[1].replace(">\n<", " | ")
    assert words.startswith("<-m | bert_recipes.cli.launch | ")  # which ends as the run does, without a traceback
    assert "--num_machines | 2 | --machine_rank | 1 | --num_processes | 8" in words
    assert "--main_process_ip | first | --main_process_port | 29577" in words
    assert words.strip().endswith("recipes/custom.py | --labels | two words | b>")
    assert "requeue" not in calls
    assert "scancel" not in calls


def test_a_failed_run_is_not_put_back_into_the_queue(slurm):
    start, folder = slurm
    process = start(1, 2)
    process.communicate(timeout=20)
    assert process.returncode == 2
    assert "requeue" not in (folder / "calls").read_text()


def test_a_preempted_run_is_signalled_and_put_back_into_the_queue(slurm):
    start, folder = slurm
    process = start(200, 0)
    wait_for(folder / "started", process)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    out, error = process.communicate(timeout=20)
    assert time.monotonic() - started < 15
    assert process.returncode == 143, error
    assert "goes back into the queue" in out
    calls = (folder / "calls").read_text().splitlines()
    assert "scancel --signal=TERM 77.0" in calls
    assert calls[-1] == "scontrol requeue 77"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing_in_the_slurm_script():
    done = subprocess.run(["shellcheck", ROOT / "recipes/launch/slurm.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
