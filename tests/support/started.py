"""Scripts in processes that start at once, since what they import is there already.

They are forked from a server that has imported what the recipes need, and nothing else: neither the state of the tests
nor what they have patched. What a script costs to start is tested where a test starts it by `subprocess`.
"""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
# What the recipes import on their way.
CONTEXT.set_forkserver_preload(
    [
        "bert_recipes.data.loading",
        "bert_recipes.modeling.building",
        "bert_recipes.modeling.going_on",
        "bert_recipes.modeling.losses",
        "bert_recipes.reporting.plots",
        "bert_recipes.runs.folds",
        "bert_recipes.runs.refit",
        "bert_recipes.training.trainer",
    ]
)


class Started:
    """A script that was started, with what of `subprocess.Popen` the tests ask for.

    Args:
        command: the interpreter, a script or `-c` and code, and its flags.
        environment: instead of this process's own.
    """

    def __init__(self, command, environment=None):
        self.args = list(map(str, command))
        assert self.args[0] == sys.executable
        self.folder = tempfile.TemporaryDirectory()
        environment = dict(os.environ if environment is None else environment)
        output = Path(self.folder.name)
        self.process = CONTEXT.Process(
            target=_run, args=(self.args[1:], environment, os.getcwd(), output), daemon=True
        )
        self.process.start()

    @property
    def pid(self):
        return self.process.pid

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number):
        # One that has ended is gone at once: nobody but its server waits for it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout=None):
        """Wait for its end and return its status."""
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """Wait for its end and return what it wrote to standard output and standard error."""
        self.wait(timeout)
        return tuple((Path(self.folder.name) / name).read_text() for name in ("stdout", "stderr"))


def run(command, check=False, environment=None):
    """Run a script to its end, as `subprocess.run` does with `capture_output` and `text`."""
    process = Started(command, environment)
    stdout, stderr = process.communicate()
    done = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    if check:
        done.check_returncode()
    return done


def _run(words, environment, folder, output):
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for name, number in (("stdout", 1), ("stderr", 2)):
        with (output / name).open("w") as file:
            os.dup2(file.fileno(), number)
    try:
        if words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(words[1], {"__name__": "__main__"})
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
    finally:
        # A process of multiprocessing ends without them.
        atexit._run_exitfuncs()
