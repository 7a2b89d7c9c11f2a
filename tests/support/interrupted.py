"""A run with a checkpoint every five steps, to be interrupted."""

import sys
import time

from support.paths import RECIPES

STEPS = 40


def command(name, folder, competition, tiny_bert, *flags):
    """Return the command that starts the run, and that resumes it."""
    return [
        *(sys.executable, str(RECIPES / f"{name}.py"), "--dataset", str(competition), "--model", str(tiny_bert)),
        *("--output_dir", str(folder), "--max_length", "32", "--max_steps", str(STEPS)),
        # The other in bfloat16, where the machine has it.
        *(("--bf16", "false") if name == "stock" else ()),
        *("--per_device_train_batch_size", "8", "--train_sampling_strategy", "group_by_length"),
        *("--eval_strategy", "steps", "--eval_steps", "5", "--save_strategy", "steps", "--save_steps", "5"),
        *("--learning_rate", "1e-3", "--logging_steps", "3", *flags),
    ]


def wait_for(path, process, seconds=90):
    """Wait until the process has made the file or folder `path`."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.001)
