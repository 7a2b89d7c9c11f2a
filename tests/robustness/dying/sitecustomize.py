"""Kills the process, and those that started it, at a chosen file operation below a folder.

Python imports a module of this name at its start, so that also processes that a script starts are counted. The
environment says what to do:

    DYING_BELOW   the folder below which operations count
    DYING_LOG     a file that takes a line for each operation, of all processes
    DYING_AT      the number of the operation to die at, from 1; without it none
    DYING_AFTER   seconds from just before that operation until the death; 0 is before it
"""

import os
import signal
import sys
import threading
import time

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Where in an event's arguments the path and the descriptor that it is relative to are.
EVENTS = {"os.rename": (0, 2), "os.remove": (0, 1), "os.rmdir": (0, 1), "os.mkdir": (0, 2), "os.truncate": (0, None)}
EVENTS["sqlite3.connect"] = (0, None)


def whole_path(path, beside: int | None) -> str | None:
    """Return an absolute path for what an event names; None for a descriptor."""
    if isinstance(path, int):
        return None
    path = os.fsdecode(path)
    if beside is not None and beside >= 0:
        path = os.path.join(os.readlink(f"/proc/self/fd/{beside}"), path)
    return os.path.abspath(path)


def die_at_once() -> None:
    """End this process and its group as a power cut would."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def die_after(seconds: float) -> None:
    """The same after some time."""
    time.sleep(seconds)
    die_at_once()


def arm(settings: dict[str, str]) -> None:
    """Begin to count, and die when it is time."""
    below = settings["DYING_BELOW"] + os.sep
    log = os.open(settings["DYING_LOG"], os.O_RDWR | os.O_CREAT | os.O_APPEND)
    at, after = int(settings.get("DYING_AT", "0")), float(settings.get("DYING_AFTER", "0"))

    def hear(event: str, args: tuple) -> None:
        if event == "open":
            if not (args[2] or 0) & WRITING:
                return
            path = whole_path(args[0], None)
        elif event in EVENTS:
            place, beside = EVENTS[event]
            path = whole_path(args[place], None if beside is None else args[beside])
        else:
            return
        if path is None or not (path + os.sep).startswith(below):
            return
        os.write(log, f"{event.removeprefix('os.')} {os.path.relpath(path, below)}\n".encode())
        if at and os.pread(log, 1 << 20, 0).count(b"\n") == at:
            if after:
                threading.Thread(target=die_after, args=(after,), daemon=True).start()
            else:
                die_at_once()

    sys.addaudithook(hear)


if "DYING_BELOW" in os.environ:
    arm(dict(os.environ))
