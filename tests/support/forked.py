"""`recipes/predict.py` in processes forked from this one, which has imported what they need: each starts at once."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from bert_recipes.inference.parts_folder import PartsFolder
from support.paths import RECIPES
from support.scripts import run_script

# Rank, number of processes and local rank, as launchers name them.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
# The file operations at which a process can be killed.
OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.listdir", "fcntl.lockf")


class Forked:
    """A process of the script.

    Args:
        flags: of the script.
        rank: of this process.
        count: of processes; one has no launcher.
        said: where its standard error goes.
        names: what the launcher calls rank and count.
        before: called in it first.
    """

    def __init__(self, flags, rank=0, count=1, *, said, names=TORCHRUN, before=lambda: None):
        self.said = Path(f"{said}.{rank}")
        self.said.write_text("")
        self.process = multiprocessing.get_context("fork").Process(
            target=self._run, args=(flags, rank, count, names, before)
        )
        self.process.start()

    def _run(self, flags, rank, count, names, before):
        for name in TORCHRUN + SRUN:
            os.environ.pop(name, None)
        if count > 1:
            os.environ |= dict(zip(names, map(str, (rank, count, rank)), strict=True))
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        with self.said.open("w") as file:
            sys.stderr = file
            os.dup2(file.fileno(), 2)
            before()
            run_script(RECIPES / "predict.py", *flags)

    def end(self):
        """Wait for it, and return its exit status and what it said."""
        self.process.join(120)
        assert not self.process.is_alive()
        return self.process.exitcode, self.said.read_text()

    def kill(self):
        self.process.kill()


def start(count, flags, **options):
    return [Forked(flags, rank, count, **options) for rank in range(count)]


def run(count, flags, **options):
    """Run so many processes to their end, and return the status and the words of each."""
    return [process.end() for process in start(count, flags, **options)]


def meeting(count):
    """Return what lets so many processes wait for each other in the folder of the parts: none has predicted alone."""
    met = multiprocessing.get_context("fork").Barrier(count)
    begin = PartsFolder.begin

    def wait(folder, *arguments):
        met.wait(60)
        return begin(folder, *arguments)

    return lambda: setattr(PartsFolder, "begin", wait)


def dying_at(number, folder):
    """Return what makes a process die (SIGKILL) before its `number`-th file operation in or on a folder, from 0."""

    def aim():
        left = number

        def see(event, arguments):
            nonlocal left
            if event not in OPERATIONS:
                return
            if event != "fcntl.lockf" and not any(str(a).startswith(str(folder)) for a in arguments[:2]):
                return
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

        sys.addaudithook(see)

    return aim
