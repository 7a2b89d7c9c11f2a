"""Files that are written whole or not at all, and small files read with an error that says what is wrong."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import yaml

from bert_recipes.errors import UserError, in_one_line

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

# A full disk, or one that is full for this user.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def writing(path: Path, mode: str = "w") -> Iterator[Any]:
    """Open a file beside `path` for writing; rename it to `path` when the block ends without an error.

    A link stays, and what it leads to is replaced; the new file has the mode and, where that is allowed, the owner of
    the one that it replaces. What is no regular file (a device, a pipe, /dev/stdout) is written as it is. Files that
    processes which are gone have left beside `path` are removed.

    Args:
        path: of the file to be.
        mode: `w` for text in UTF-8, `wb` for bytes.

    Raises:
        UserError: it cannot be written there.
    """
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    with _said_of(path):
        through = is_stream(path)
        target = path if through else Path(os.path.realpath(path))
        beside = path if through else target.with_name(f".{target.name}.{os.getpid()}")
        if not through:
            _check_replaceable(target)
            _remove_stale(target)
        file = beside.open(mode, **text)
    if through:
        with file:
            yield file
        return
    try:
        with file:
            with contextlib.suppress(OSError):  # not every file system has locks
                _lock(file)
            if target.exists():
                _keep_mode_and_owner(file.fileno(), target)
            yield file
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """Make what the block cannot do an error about `path`; a full disk is none of the user's mistakes."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def check_replaceable(path: Path) -> None:
    """Check, before much is computed, that `writing` could put a file there.

    Raises:
        UserError: a folder is there, or a file that may not be replaced; or there is no such folder to put it in.
    """
    with _said_of(path):
        target = Path(os.path.realpath(path))
        _check_replaceable(target)
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check_replaceable(target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def is_stream(path: Path) -> bool:
    """Whether something is there that no file can take the place of: a device, a pipe, an open descriptor."""
    if path.exists() and not path.is_file() and not path.is_dir():
        return True
    # /dev/stdout leads to /proc/self/fd/1, and that to whatever file it was opened on.
    for _ in range(40):
        path = Path(os.path.realpath(path.parent), path.name)
        if path.is_relative_to("/proc"):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


def _keep_mode_and_owner(descriptor: int, target: Path) -> None:
    if not hasattr(os, "fchown"):  # Windows
        return
    found = target.stat()
    for owner in ((found.st_uid, found.st_gid), (-1, found.st_gid)):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, *owner)
            break
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode))


def _remove_stale(target: Path) -> None:
    """Remove the files of this module beside `target` that nobody writes any more."""
    for stale in target.parent.glob(f".{glob.escape(target.name)}.*"):
        process = stale.suffix[1:]
        # No process has a larger number: .notes.csv.20240101 is not one of these.
        if not process.isdecimal() or int(process) > 2**22 or _is_alive(int(process)):
            continue
        with contextlib.suppress(OSError), stale.open("rb") as file:
            # A process on another machine that writes it holds this lock.
            _lock(file)
            stale.unlink()


def _lock(file: IO[Any]) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_yaml(path: Path, values: dict[str, Any]) -> None:
    """Write keys and values in their order."""
    with writing(path) as file:
        yaml.safe_dump(values, file, sort_keys=False, allow_unicode=True)


def write_json(path: Path, values: object) -> None:
    """Write `values` with an indent of two spaces."""
    with writing(path) as file:
        json.dump(values, file, indent=2)


def read_yaml(path: Path, named: str | None = None) -> dict[str, Any]:
    """Return the keys and values of a YAML file.

    Args:
        path: of the file.
        named: what a sentence calls it; by default its path.

    Raises:
        UserError: it cannot be read, is no YAML, or holds something else than keys and values.
    """
    named = named or str(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{named} cannot be read: {error.strerror}.") from error
    # PyYAML raises whatever Python does of a date that there is not, a tag that does not fit, brackets without end.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{named} is no YAML: {in_one_line(error)}") from error
    except RecursionError as error:
        raise UserError(f"{named} is no YAML of keys and values: it is nested too deep.") from error
    if not isinstance(values, dict):
        raise UserError(f"{named} must hold keys and values.")
    return values


def read_json(path: Path) -> dict[str, Any]:
    """Return the keys and values of a JSON file of a run.

    Raises:
        UserError: it is not there, or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} is no complete run: it has no {path.name}; give its command again.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): run it again.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged (it holds no keys and values): run it again.")
    return values
