"""How a run ends when it cannot go on: a user's mistake, said in one sentence, or a signal."""

import atexit
import difflib
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

from safetensors import SafetensorError

from bert_recipes.help import asks_for_help

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# What gloo and the store say of a peer that is gone; both raise a bare RuntimeError in places.
PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection was likely closed")


class UserError(Exception):
    """A mistake of the user's: what was wrong, where, and what to do, in one sentence without a traceback."""


class StoppedError(Exception):
    """A signal came, and the run has saved what it needs to go on."""

    def __init__(self, sentence: str, number: int):
        super().__init__(sentence)
        self.number = number


def nearest(word: str, valid: Iterable[str], prefix: str = "") -> str:
    """Return `; did you mean X` for the one of `valid` that is most like `word`, or nothing if none is like it."""
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean {prefix}{near[0]}" if near else ""


def run_main(main: Callable[[], None]) -> None:
    """Run a script's `main` and end the process.

    The status is 2 after a `UserError`, a full disk or the loss of another process, told in one sentence on stderr,
    and 128 + the signal's number after a `StoppedError`. `--debug` anywhere on the command line lets the traceback
    through instead.
    """
    if not asks_for_help(sys.argv[1:]):
        from bert_recipes.console import quiet_libraries  # it needs what is defined here, and seconds

        quiet_libraries()
    try:
        main()
        status = 0
    except (UserError, StoppedError, OSError, RuntimeError, SafetensorError) as error:
        sentence = _sentence(error)
        if sentence is None or "--debug" in sys.argv:
            raise
        status = 128 + error.number if isinstance(error, StoppedError) else 2
        _print(sentence, error)
    except KeyboardInterrupt:
        if "--debug" in sys.argv:
            raise
        print("interrupted: the same command goes on from the last checkpoint, if there is one.", file=sys.stderr)
        status = 128 + signal.SIGINT
    if "torch" in sys.modules:
        _leave_the_group(status)
    if status:
        sys.exit(status)


def _print(sentence: str, error: Exception) -> None:
    if int(os.environ.get("RANK", "0")) > 0:
        if isinstance(error, StoppedError):
            return
        if not _peer_is_gone(error):
            # Where all processes fail alike, the launcher ends this one as soon as the main one has spoken.
            time.sleep(5)
    print(sentence, file=sys.stderr, flush=True)


def _leave_the_group(status: int) -> None:
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    if status == 0:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    # Not through Python's finalization: a thread of gloo's that meets it aborts the process now and then ("terminate
    # called without an active exception"), and the launcher reports a failure.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _sentence(error: Exception) -> str | None:
    if isinstance(error, StoppedError):
        return f"{signal.Signals(error.number).name}: {error}"
    if isinstance(error, UserError):
        return f"error: {error}"
    # safetensors and torch.save tell a full disk by other classes than OSError.
    if getattr(error, "errno", None) in NO_SPACE or any(os.strerror(number) in str(error) for number in NO_SPACE):
        return f"error: there is no space left to write to ({error}): free some and give the same command again."
    if _peer_is_gone(error):
        return (
            f"error: process {os.environ.get('RANK', '0')} has lost another process of this run, which was ended or "
            "cannot be reached: once that is mended the same command goes on from the last checkpoint."
        )
    return None


def _peer_is_gone(error: Exception) -> bool:
    if "RANK" not in os.environ:
        return False
    import torch

    of_torch = torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)
    return of_torch or any(words in str(error) for words in PEER_GONE)
