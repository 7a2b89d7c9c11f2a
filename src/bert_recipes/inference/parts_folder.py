"""The folder in which several processes put the parts of one prediction, on one machine or on many that share it.

They know nothing of one another but what stands there. Which part is whose, who joins them and who removes the folder
is settled by locks on the bytes of one file, which the system takes back from a process that ends, however it ends: a
part is claimed by its lock, written beside, and renamed.
"""

import contextlib
import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType, ModuleType
from typing import IO, Any

from bert_recipes.errors import UserError, some
from bert_recipes.files import check_replaceable, is_stream, writing

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

SUFFIX = ".parts"
# What the parts are of, where the locks are, and what says that the parts were joined.
MANIFEST, LOCKS, JOINED = "parts.json", "locks", "joined.json"
PARTS = "part-*-of-*.csv"
# Those, and what `writing` leaves of them when it is killed.
OWN = (MANIFEST, LOCKS, JOINED, PARTS, *(f".{name}.*" for name in (MANIFEST, JOINED, PARTS)))
# The bytes that are locked, of processes that are here, that make the manifest and that join; then one for each part.
PRESENT, MANIFEST_BYTE, JOIN_BYTE, FIRST_PART = range(4)
HELD = (errno.EACCES, errno.EAGAIN)


def parts_of(output: str) -> Path:
    """Return the folder for the parts of an output, which need not be there."""
    target = Path(output).expanduser()
    return target.with_name(target.name + SUFFIX)


def is_part(file: Path) -> bool:
    """Whether a file is a part of a prediction, by its name and that of its folder."""
    return file.parent.name.endswith(SUFFIX) and fnmatchcase(file.name, PARTS)


def check_files(inputs: list[str], output: str, processes: int) -> None:
    """Refuse what several processes cannot read or write together.

    Args:
        inputs: `--input`.
        output: `--output`.
        processes: how many there are.

    Raises:
        UserError: it is standard input or standard output, or a pipe or a device.
    """
    many = f"{processes} processes (PROCS, WORLD_SIZE or SLURM_STEP_NUM_TASKS says so)"
    for name in inputs:
        if name == "-" or is_stream(Path(name).expanduser()):
            raise UserError(
                f"{many} cannot share {_stream(name, 'input')}: put the rows into a file and give --input."
            )
    if output == "-" or is_stream(Path(output).expanduser()):
        raise UserError(f"{many} cannot share {_stream(output, 'output')}: name a file with --output.")


def _stream(name: str, kind: str) -> str:
    return f"standard {kind}" if name == "-" else name


@contextlib.contextmanager
def taking_part(output: str) -> Iterator["PartsFolder"]:
    """Enter the folder for the parts of an output, and leave it however the block ends; SIGTERM ends it too.

    The last process that leaves removes the folder, unless there are parts that are still to be joined.

    Args:
        output: the file that the parts are to make.

    Raises:
        UserError: it could not be written, something else is where the folder would be, or there are no locks there.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    check_replaceable(Path(output).expanduser())
    before = signal.signal(signal.SIGTERM, stop)
    try:
        folder = PartsFolder(output)
        try:
            yield folder
        finally:
            folder.leave()
    finally:
        signal.signal(signal.SIGTERM, before)


class _Locks:
    """Locks on the bytes of a file.

    Args:
        path: of the file, which is made where it is not there.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file: IO[str] = path.open("a+", encoding="utf-8")

    def take(self, byte: int, *, shared: bool = False, wait: bool = False) -> bool:
        """Lock a byte; return whether this process holds it now, and not another.

        Raises:
            UserError: there are no locks here.
        """
        if fcntl is None:
            raise UserError("this system has no locks on files, by which several processes deal out parts.")
        kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.lockf(self._file, kind, 1, byte)
        except OSError as error:
            if error.errno in HELD:
                return False
            raise UserError(
                f"{self.path.parent} is on a file system without locks ({error.strerror}), by which several processes "
                "deal out parts: name an --output on another."
            ) from error
        return True

    def drop(self, byte: int) -> None:
        """Unlock a byte."""
        if fcntl is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def is_there(self) -> bool:
        """Whether the file that is open here is the one that another process would open now."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Drop all locks."""
        self._file.close()


class PartsFolder:
    """The folder, while this process is in it.

    Args:
        output: the file that the parts are to make.

    Attributes:
        path: of the folder.
        manifest: what `begin` found or wrote.

    Raises:
        UserError: as `taking_part`.
    """

    def __init__(self, output: str):
        self.output = Path(output).expanduser()
        self.path = parts_of(output)
        self.manifest: dict[str, Any] = {}
        while not self._enter():
            pass

    def _enter(self) -> bool:
        """Make the folder and lock that this process is in it; return whether no other has removed it meanwhile."""
        try:
            # mkdir's own exist_ok looks again whether it is a folder, when another process may have removed it.
            with contextlib.suppress(FileExistsError):
                self.path.mkdir()
            self._check_own()
            self._locks = _Locks(self.path / LOCKS)
        except OSError as error:
            if error.errno == errno.ENOENT and self.path.parent.is_dir():
                return False  # the last one that left has just removed the folder
            raise UserError(
                f"{self.path}, where the parts of {self.output} are to be, cannot be made: {error.strerror}."
            ) from error
        try:
            self._locks.take(PRESENT, shared=True, wait=True)
        except UserError:
            self._locks.close()
            with contextlib.suppress(OSError):
                (self.path / LOCKS).unlink()
                self.path.rmdir()
            raise
        if self._locks.is_there():
            return True
        self._locks.close()
        return False

    def _check_own(self) -> None:
        if strangers := sorted(name for name in os.listdir(self.path) if not _is_own(name)):
            raise UserError(
                f"{self.path} is where the parts of {self.output} are to be, and holds {some(strangers)}: move that, "
                "or name another --output."
            )

    def leave(self) -> None:
        """Leave the folder; the last one removes it, unless there are parts that are still to be joined."""
        self._locks.drop(PRESENT)
        # Of those that leave at once, the one that lets go last finds no other.
        if self._locks.take(PRESENT) and self._locks.is_there():
            names = os.listdir(self.path)
            if JOINED in names or MANIFEST not in names:
                self._clear(names)
                (self.path / LOCKS).unlink()
                with contextlib.suppress(OSError):  # something that is none of ours was put there
                    self.path.rmdir()
        self._locks.close()

    def _clear(self, names: list[str]) -> None:
        for name in names:
            if _is_own(name) and name != LOCKS:
                (self.path / name).unlink(missing_ok=True)

    # The manifest

    def begin(self, of: dict[str, Any], plan: Callable[[], dict[str, Any]]) -> None:
        """Read the manifest, or write it if this process is the first.

        Args:
            of: what the parts are of, by what a sentence calls it; other values are another prediction.
            plan: called by the first process, returns what else the manifest is to hold.

        Raises:
            UserError: the folder holds parts of another prediction.
        """
        of = json.loads(json.dumps(of))
        self._locks.take(MANIFEST_BYTE, wait=True)
        try:
            found = self._found()
            if found is None or (self.is_joined and (found["of"] != of or not self._has_output())):
                # What one that was killed while it removed the files has left is of another prediction, whichever of
                # them it is.
                self._clear(os.listdir(self.path))
                found = {"of": of, **plan()}
                self._write(MANIFEST, found)
        finally:
            self._locks.drop(MANIFEST_BYTE)
        if found["of"] != of:
            others = " and ".join(name for name in of if found["of"].get(name) != of[name])
            raise UserError(
                f"{self.path} holds parts of another prediction, with another {others}: go on with that one, remove "
                "the folder, or name another --output."
            )
        self.manifest = found

    def _found(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            return {**found, "of": dict(found["of"])}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self.path / MANIFEST} is damaged ({error}): remove the folder.") from error

    def _write(self, name: str, values: object) -> None:
        with writing(self.path / name) as file:
            json.dump(values, file, indent=2)

    # The parts

    @property
    def is_joined(self) -> bool:
        """Whether the parts were joined."""
        return (self.path / JOINED).exists()

    def _has_output(self) -> bool:
        """Whether the output is the file that the parts were joined to."""
        try:
            return _state(self.output) == json.loads((self.path / JOINED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False

    def part(self, number: int) -> Path:
        """Return the file of a part."""
        return self.path / f"part-{number:05}-of-{self.manifest['parts']:05}.csv"

    def claimed(self) -> Iterator[int]:
        """Yield the numbers of parts that are neither finished nor another process's, ascending; each is this one's
        until the next is asked for.
        """
        finished = self.finished()
        for number in range(self.manifest["parts"]):
            if number in finished or not self._locks.take(FIRST_PART + number):
                continue
            try:
                # Asked of the folder itself, since a network file system remembers what was not there a while ago.
                finished = self.finished()
                if number not in finished:
                    yield number
            finally:
                self._locks.drop(FIRST_PART + number)

    def finished(self) -> set[int]:
        """Return the numbers of the parts that are finished: all, once they were joined."""
        names = set(os.listdir(self.path))
        return {n for n in range(self.manifest["parts"]) if JOINED in names or self.part(n).name in names}

    def join(self, header: str) -> bool:
        """Join the parts in their order into the output and remove them, unless another process does or did.

        Args:
            header: with which each part begins, and the output.

        Returns:
            Whether this process did.

        Raises:
            UserError: a part is damaged, or the output cannot be written.
        """
        if not self._locks.take(JOIN_BYTE):
            return False
        try:
            if self.is_joined:
                return False
            head = header.encode()
            with writing(self.output, "wb") as out:
                out.write(head)
                for number in range(self.manifest["parts"]):
                    with self.part(number).open("rb") as part:
                        if part.read(len(head)) != head:
                            raise UserError(f"{self.part(number)} is damaged: remove it and give the command again.")
                        shutil.copyfileobj(part, out)
            # Before the first is removed: no other is to take what is not there for what is still to be predicted.
            self._write(JOINED, _state(self.output))
            for number in range(self.manifest["parts"]):
                self.part(number).unlink()
        finally:
            self._locks.drop(JOIN_BYTE)
        return True


def _is_own(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in OWN)


def _state(file: Path) -> dict[str, int]:
    found = file.stat()
    return {"size": found.st_size, "changed": found.st_mtime_ns}
