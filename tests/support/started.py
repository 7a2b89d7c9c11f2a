"""Scripts in processes that start at once, since the libraries that they import are there already.

They are forked from a server that has imported these libraries, and nothing else: neither this project, nor the state
of the tests, nor what they have patched. What a script costs to start is tested where one is started by `subprocess`.
"""

import atexit
import contextlib
import gc
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch

CONTEXT = multiprocessing.get_context("forkserver")
# What the recipes import on their way.
CONTEXT.set_forkserver_preload(
    [
        "datasets",
        "evaluate",
        "jinja2",
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
        "matplotlib.figure",
        "rich.table",
        "sklearn.feature_extraction.text",
        "sklearn.linear_model",
        "sklearn.metrics",
        "sklearn.model_selection",
        "torch.distributed.tensor",
        "transformers.hf_argparser",
        "transformers.models.bert.modeling_bert",
        "transformers.models.bert.tokenization_bert",
        "transformers.pipelines.text_classification",
        "transformers.trainer",
    ]
)


class Started:
    """A script that was started, with what of `subprocess.Popen` the tests ask for.

    It leaves figures blank where the test does (`support.figures`); code of `-c` renders them.

    Args:
        command: the interpreter, a script, `-m` and a module or `-c` and code, and its flags.
        environment: instead of this process's own.
        into: the file that standard output and standard error go to, instead of one each.
        folder: instead of this process's own.
    """

    def __init__(self, command, environment=None, into=None, folder=None):
        self.args = list(map(str, command))
        assert self.args[0] == sys.executable
        self.folder = tempfile.TemporaryDirectory()
        environment = dict(os.environ if environment is None else environment)
        self.outputs = [Path(into or f"{self.folder.name}/{name}") for name in ("stdout", "stderr")]
        where = os.path.abspath(folder or os.getcwd())
        self.process = CONTEXT.Process(
            target=_run, args=(self.args[1:], environment, where, self.outputs), daemon=True
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

    def terminate(self):
        self.send_signal(signal.SIGTERM)

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
        return tuple(path.read_text() for path in self.outputs)


def run(command, check=False, environment=None, folder=None):
    """Run a script to its end, as `subprocess.run` does with `capture_output` and `text`."""
    process = Started(command, environment, folder=folder)
    stdout, stderr = process.communicate()
    done = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    if check:
        done.check_returncode()
    return done


def run_on_processes(count, command):
    """Run a script on so many processes with what a launcher tells each, and return what process 0 wrote."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = []
    for rank in range(count):
        told = shared | {"RANK": rank, "LOCAL_RANK": rank, "ACCELERATE_MIXED_PRECISION": "no"}
        processes.append(Started(command, os.environ | {name: str(value) for name, value in told.items()}))
    written = [process.communicate(timeout=300) for process in processes]
    for process, (_, error) in zip(processes, written, strict=True):
        assert process.returncode == 0, error[-4000:]
    return written[0]


@contextlib.contextmanager
def children_at_once():
    """Let the runs that this process starts by `Children` start at once, too."""

    def popen(command, *, stdout, stderr, env):
        assert stderr is subprocess.STDOUT
        return Started(command, env, stdout.name)

    with patch("bert_recipes.runs.children.subprocess", SimpleNamespace(Popen=popen, STDOUT=subprocess.STDOUT)):
        yield


def _run(words, environment, folder, outputs):
    # What was imported is not looked through again.
    gc.freeze()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for path, number in zip(outputs, (1, 2), strict=True):
        with path.open("a") as file:
            os.dup2(file.fileno(), number)
    if os.environ.get("BLANK_FIGURES") and words[0] != "-c":
        from support.figures import leave_blank

        leave_blank()
    if "OMP_NUM_THREADS" in environment:
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    try:
        if words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(words[1], {"__name__": "__main__"})
        elif words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
    finally:
        # A process of multiprocessing ends without them.
        atexit._run_exitfuncs()
