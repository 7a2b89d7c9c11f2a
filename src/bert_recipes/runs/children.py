"""Processes that do not outlive this one's end: a signal is passed on to them, and they are waited for."""

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from bert_recipes.errors import UserError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Children:
    """A context in which processes are run; SIGTERM and SIGINT reach them as SIGTERM, and no more are started then.

    Attributes:
        received: the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.received = 0
        self._running: set[subprocess.Popen[bytes]] = set()
        self._changing = threading.Lock()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Children":
        # Only the main thread may take signals; elsewhere they are the program's own.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        for process in list(self._running):
            process.terminate()

    def run(self, command: list[str], log: Path, environment: dict[str, str]) -> int:
        """Run a command, what it says into `log`, and return its status; minus the signal's number if one came before.

        It may be called from several threads.
        """
        with log.open("w", encoding="utf-8") as said:
            with self._changing:
                if self.received:
                    return -self.received
                process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
                self._running.add(process)
            if self.received:
                process.terminate()  # it came while the process was started
            status = process.wait()
            self._running.discard(process)
        return status

    def run_recipe(
        self, recipe: str, config: Path, flags: Sequence[str], folder: Path, environment: dict[str, str]
    ) -> int:
        """As `run`, of a recipe with a configuration and flags into a run's folder; what it says goes beside that."""
        command = [sys.executable, "-m", f"bert_recipes.recipes.{recipe}", "--config", str(config)]
        return self.run([*command, *flags, "--output_dir", str(folder)], log_of(folder), environment)


def log_of(folder: Path) -> Path:
    """Return the file with what was said while the run in `folder` was made."""
    return folder.with_name(f"{folder.name}.log")


def failure_of(folder: Path, status: int) -> UserError:
    """Return the error of a run that ended with a status that is not 0, in its own last words."""
    lines = log_of(folder).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = (lines[-1] if lines else "it said nothing").removeprefix("error: ").rstrip(".")
    again = "" if status == 2 else "; the same command goes on from here"
    return UserError(
        f"the run in {folder} ended with status {status}: {said} (all that it said is in {log_of(folder)}{again})."
    )
