"""Processes that do not outlive this one's end: a signal is passed on to them, and they are waited for."""

import signal
import subprocess
import threading
from pathlib import Path
from types import FrameType
from typing import Any

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
