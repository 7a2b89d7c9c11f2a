"""A folder that one process works in: who holds it, which of its files are this project's, and how it is replaced."""

import atexit
import contextlib
import errno
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import IO

from bert_recipes.errors import UserError, some

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has none, and there a folder is not locked
    fcntl = None

LOCK = ".lock"
# Where a finished run waits until the one that replaces it is finished too.
REPLACED = ".replaced"
# Where it is while it is moved there.
REPLACING = ".replacing"
OWN = (LOCK, REPLACED, REPLACING)
# What `files.writing` leaves of a file when it is killed: its name between a dot and a process id.
TEMPORARY = re.compile(r"\.(.+)\.\d+")
# What a file system says that has no locks: there a folder is not held.
WITHOUT_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
# The folders that this process holds, and the thread that took each.
_HELD: "dict[Path, tuple[OwnedFolder, int]]" = {}


@dataclass
class OwnedFolder:
    """A folder whose files this project writes.

    Attributes:
        path: of the folder, which may not be there yet.
        kind: of what it holds, for a sentence, as in `run`.
        files: patterns of what is written there, as paths from the folder; `*` stands for one name, and a pattern
            that ends in `/**` for all below. The first one names the file that says what the folder is.
    """

    path: Path
    kind: str
    files: tuple[str, ...]
    _lock: IO[str] | None = field(default=None, repr=False)

    def strangers(self) -> list[str]:
        """Return the files below the folder that are not this project's, sorted."""
        found = (file.relative_to(self.path) for file in self.path.rglob("*") if file.is_symlink() or file.is_file())
        return sorted(str(file) for file in found if not self._is_ours(file))

    def _is_ours(self, file: Path) -> bool:
        if file.parts[0] in OWN:
            return True
        half_written = TEMPORARY.fullmatch(file.name)
        parts = (*file.parts[:-1], half_written[1] if half_written else file.name)
        return any(_matches(parts, pattern.split("/")) for pattern in self.files)

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands there but what killed processes of this project left half-written."""
        left = (entry for entry in self.path.iterdir() if entry.name not in OWN)
        return all(TEMPORARY.fullmatch(entry.name) and self._is_ours(Path(entry.name)) for entry in left)

    # Holding

    def hold(self, shared: bool = False) -> None:
        """Hold the folder, which must be there, until `release` or the end of this process, however it ends.

        Args:
            shared: whether other processes may share it.

        Raises:
            UserError: another process holds it.
        """
        if fcntl is None or self._lock is not None:
            return
        before, thread = _HELD.get(self.path.resolve(), (None, 0))
        if before is not None and thread == threading.get_ident():
            before.release()  # a training of this thread that ended by an exception
        path = self.path / LOCK
        while True:
            file = path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = _holder(path)
                file.close()
                raise UserError(
                    f"{self.path} is in use by {holder}: wait for it, or name another --output_dir."
                ) from error
            except OSError as error:
                file.close()
                path.unlink(missing_ok=True)
                if error.errno in WITHOUT_LOCKS:
                    return
                raise
            # One that ended in between has removed the file that was opened here.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            file.close()
        file.truncate(0)
        json.dump({"process": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
        self._lock = file
        _HELD[self.path.resolve()] = self, threading.get_ident()

    def release(self) -> None:
        """Let the folder go; the last one that held it leaves nothing."""
        if self._lock is not None and fcntl is not None:
            with contextlib.suppress(BlockingIOError):  # another one shares it
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (self.path / LOCK).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None
            _HELD.pop(self.path.resolve(), None)

    # Removing

    def remove_temporary_files(self) -> None:
        """Remove what killed processes of this project left half-written; the folder must be held."""
        for file in list(self.path.rglob(".*")):
            if TEMPORARY.fullmatch(file.name) and file.is_file() and self._is_ours(file.relative_to(self.path)):
                file.unlink(missing_ok=True)

    def check_replaceable(self, used: Iterable[Path]) -> None:
        """Check that replacing what is there would take nothing that is not this project's.

        Args:
            used: what the new one reads: the data, the model.

        Raises:
            UserError: the folder also holds strange files, what is used, or the working directory.
        """
        if strangers := self.strangers():
            raise UserError(
                f"--overwrite: {self.path} also holds {some(strangers)}, which no {self.kind} writes: move them, or "
                "name another --output_dir."
            )
        here = self.path.resolve()
        for path in (Path.cwd(), *used):
            if path.exists() and path.resolve().is_relative_to(here):
                what = "the working directory" if path == Path.cwd() else str(path)
                raise UserError(f"--overwrite: {self.path} holds {what}, which is in use: name another --output_dir.")

    def set_aside(self, finished: bool) -> None:
        """Clear the folder for a new start; the folder must be held and `check_replaceable`.

        A finished one is moved into `.replaced/`, to be removed by `drop_replaced` when the new one is finished; an
        unfinished one is removed, and what was set aside before stays.
        """
        moving = self.path / REPLACING
        if finished:
            moving.mkdir()
        for entry in self._entries():
            if finished:
                entry.replace(moving / entry.name)
            else:
                _remove(entry)
        if finished:
            self.drop_replaced()
            moving.replace(self.path / REPLACED)

    def _entries(self) -> list[Path]:
        """Return what stands in the folder, the file that says what it is last: until then it can be taken up."""
        entries = [entry for entry in self.path.iterdir() if entry.name not in OWN]
        return sorted(entries, key=lambda entry: entry.name == self.files[0])

    def undo_setting_aside(self) -> None:
        """Move back what a process that was killed while it set the folder aside has moved."""
        moving = self.path / REPLACING
        if moving.is_dir():
            for entry in moving.iterdir():
                entry.replace(self.path / entry.name)
            moving.rmdir()

    def drop_replaced(self) -> None:
        """Remove what was set aside."""
        shutil.rmtree(self.path / REPLACED, ignore_errors=True)


@atexit.register
def _release_all() -> None:
    for folder, _ in list(_HELD.values()):
        folder.release()


@contextlib.contextmanager
def holding(folder: OwnedFolder, shared: bool = False) -> Iterator[None]:
    """Make a folder and hold it for as long as the block runs; if nothing was put there it is removed again.

    Raises:
        UserError: another process holds it, or it cannot be made.
    """
    created = not folder.path.exists()
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.hold(shared)
    except OSError as error:
        raise UserError(f"--output_dir {folder.path} cannot be written ({error.strerror}): name another.") from error
    try:
        yield
    finally:
        folder.release()
        if created and not any(folder.path.iterdir()):
            folder.path.rmdir()


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _matches(parts: tuple[str, ...], pattern: list[str]) -> bool:
    if pattern[-1] == "**":
        return len(parts) >= len(pattern) and _matches(parts[: len(pattern) - 1], pattern[:-1])
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))


def _holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return f"process {held['process']} on {held['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def free_space(path: Path) -> int:
    """Return the bytes that are free where `path` is, or is to be."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def in_bytes(count: float) -> str:
    """Return a number of bytes in a unit that shows it, as in `3.0 MiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
