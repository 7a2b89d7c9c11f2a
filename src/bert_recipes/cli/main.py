"""How a script ends: with a result, with a user's mistake said in one sentence, or by a signal."""

import atexit
import contextlib
import io
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable

from bert_recipes.config.help import asks_for_help
from bert_recipes.errors import StoppedError, UserError, in_one_line
from bert_recipes.extras import INSTALL_TRAIN, missing_package
from bert_recipes.files import NO_SPACE
from bert_recipes.processes import all_are_here

# What gloo and the store say of a peer that is gone; both raise a bare RuntimeError in places.
PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection was likely closed")

HOW_MAKE_TAKES_FLAGS = ' (With make, flags go into ARGS="--flag value".)'
# A flag of this project's in a sentence (pip's and others' have hyphens), and those that the Makefile itself gives.
FLAG = re.compile(r"(?<![\w-])--[a-z]\w*(?![\w-])")
FLAGS_OF_MAKE = {"--config", "--input", "--jobs", "--model", "--output", "--output_dir", "--seeds"}


def run_main(main: Callable[[], object], left: str = "the same command goes on from the last checkpoint") -> None:
    """Run a script's `main` and end the process.

    Args:
        main: of the script.
        left: what is there after Ctrl-C, for a sentence.

    The status is 2 after a `UserError`, a full disk or the loss of another process, told in one sentence on stderr,
    and 128 + the signal's number after a `StoppedError` or, without a word, where nobody reads the output any more
    (`| head -1`). `--debug` anywhere on the command line lets the traceback through instead; a notebook's kernel gets
    the error itself. What the terminal's encoding has no characters for is written as escapes.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if not asks_for_help(sys.argv[1:]):
        from bert_recipes.terminal import quiet_libraries

        quiet_libraries()
    status = 0
    try:
        _call(main)
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        status = 128 + signal.SIGPIPE
    except _with_a_sentence() as error:
        sentence = _sentence(error)
        if sentence is None or "--debug" in sys.argv or _in_a_kernel():
            raise
        status = 128 + error.number if isinstance(error, StoppedError) else 2
        _print(sentence, error)
    except KeyboardInterrupt:
        if "--debug" in sys.argv:
            raise
        if os.environ.get("RANK", "0") == "0":
            print(f"interrupted: {left}, if there is one.", file=sys.stderr)
        status = 128 + signal.SIGINT
    _flush()
    if "torch" in sys.modules:
        _leave_the_group(status)
    if status:
        sys.exit(status)


def _in_a_kernel() -> bool:
    """Whether a notebook's kernel runs the script (`%run`), which shows what is raised, as a sentence."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _call(main: Callable[[], object]) -> None:
    try:
        main()
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def _nobody_reads() -> bool:
    """Whether standard output or standard error is a pipe whose other end is closed."""
    poll = select.poll()
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _flush() -> None:
    """Write what is left; where nobody reads it, keep the interpreter from trying once more and telling so."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print(sentence: str, error: Exception) -> None:
    from bert_recipes.terminal import printable

    is_main, peer_is_gone = os.environ.get("RANK", "0") == "0", _peer_is_gone(error)
    if not is_main and isinstance(error, StoppedError):
        return
    # Where all fail alike, or one because another has, the launcher ends this process as soon as that one has spoken.
    # Of a process on another machine it does not know.
    is_ended = all_are_here() if peer_is_gone else not is_main
    if is_ended:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(5)
    with contextlib.suppress(BrokenPipeError):
        print(printable(sentence), file=sys.stderr, flush=True)


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
        return f"error: {error}{_for_make(str(error))}"
    if isinstance(error, ModuleNotFoundError):
        package = missing_package(error)
        return f"error: this needs {package}, which is not installed: {INSTALL_TRAIN}." if package else None
    # safetensors and torch.save tell a full disk by other classes than OSError.
    if getattr(error, "errno", None) in NO_SPACE or any(os.strerror(number) in str(error) for number in NO_SPACE):
        return f"error: there is no space left to write to ({error}): free some and give the same command again."
    if isinstance(error, _of_safetensors()):
        return f"error: a file of weights is damaged ({in_one_line(error)}): get or save the model again."
    if _peer_is_gone(error):
        return (
            f"error: process {os.environ.get('RANK', '0')} has lost another process of this run, which was ended or "
            "cannot be reached: once that is mended the same command goes on from the last checkpoint."
        )
    return None


def _for_make(sentence: str) -> str:
    """Return how make takes flags, where it was given none yet and a sentence names one that it did not pass."""
    given = {word.partition("=")[0] for word in sys.argv[1:] if word.startswith("--")}
    if "MAKELEVEL" not in os.environ or given - FLAGS_OF_MAKE or "ARGS=" in sentence:
        return ""
    return HOW_MAKE_TAKES_FLAGS if set(FLAG.findall(sentence)) - given else ""


def _with_a_sentence() -> tuple[type[Exception], ...]:
    """Return what `_sentence` may have a sentence for."""
    return (UserError, StoppedError, OSError, RuntimeError, ModuleNotFoundError, *_of_safetensors())


def _of_safetensors() -> tuple[type[Exception], ...]:
    """Return what safetensors raises, where something has imported it."""
    safetensors = sys.modules.get("safetensors")
    return (safetensors.SafetensorError,) if safetensors else ()


def _peer_is_gone(error: Exception) -> bool:
    if "RANK" not in os.environ:
        return False
    torch = sys.modules.get("torch")
    of_torch = torch and torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)
    return bool(of_torch) or any(words in str(error) for words in PEER_GONE)
