"""The files that `--input` names: files themselves, patterns and folders."""

import contextlib
import glob
import os
import shlex
import sys
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from bert_recipes.data.saved_to_disk import is_saved_to_disk
from bert_recipes.data.text_files import kind_of
from bert_recipes.errors import UserError
from bert_recipes.inference.parts_folder import is_part


def parted(words: Sequence[str]) -> list[str]:
    """Return the names in what `--input` was given, where a word may hold several, as make's INPUT does.

    A word that names something, spaces and all, is one name. Any other is parted as a shell would where a part of it
    names something.
    """
    return [name for word in words for name in _names_in(word)]


def _names_in(word: str) -> list[str]:
    if _names_something(word):
        return [word]
    try:
        names = shlex.split(word)
    except ValueError:  # a quotation mark alone
        return [word]
    return names if any(map(_names_something, names)) else [word]


def _names_something(name: str) -> bool:
    path = os.path.expanduser(name)
    # Which is false of a name that is too long for the system to be one.
    return name == "-" or os.path.exists(path) or any(glob.iglob(path, recursive=True))


def find_files(names: Sequence[str]) -> list[Path]:
    """Return the files of rows to predict, in the order in which they are read.

    Args:
        names: files and folders of `save_to_disk`, which stand for themselves; patterns such as `data/**/*.csv` and
            folders, which stand for their files in the order of their names. Hidden ones, and those that begin with
            an underscore, as other programs leave them beside their parts, are no files of rows; nor are parts of a
            prediction, and those of a folder that no reader takes.

    Raises:
        UserError: there is no such file, or a folder has none of rows.
    """
    return [file for name in names for file in _files_of(name)]


def _files_of(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if is_saved_to_disk(path) or path.is_file():
        return [path]
    if path.is_dir():
        files = [file for file in _sorted_files(path.iterdir()) if kind_of(file) in _readable()]
        if not files:
            raise UserError(
                f"--input {name} is a folder without files of rows ({', '.join(_readable())}): for those of its "
                f"folders give a pattern, as in '{Path(name) / '**/*.csv'}'."
            )
        return files
    if not glob.has_magic(name):
        raise UserError(f"--input {name}: there is no such file.")
    files = _sorted_files(map(Path, glob.glob(str(path), recursive=True)))
    if not files:
        raise UserError(f"--input {name}: no file is of that pattern.")
    return files


def _readable() -> Collection[str]:
    from bert_recipes.data.readers import READERS  # and pyarrow, which standard input does without

    return READERS


def _sorted_files(found: Iterable[Path]) -> list[Path]:
    return sorted(file for file in found if not (file.name.startswith((".", "_")) or is_part(file)) and file.is_file())


def check_output(output: str, names: Sequence[str]) -> None:
    """Refuse an output that would take the place of an input, or be one of them from then on.

    Args:
        output: `--output`.
        names: as `find_files` takes them, or `-`.

    Raises:
        UserError: it would.
    """
    target = Path(output).expanduser()
    if output == "-":
        return
    for name in names:
        path = Path(name).expanduser()
        if target.is_file() and _is_read(target, name):
            raise UserError(f"--output {output} is the file that --input reads: name another.")
        of_folder = _is_folder_of_files(path) and target.parent.is_dir() and path.samefile(target.parent)
        of_pattern = glob.has_magic(name) and _fits(_steps(target), _steps(path))
        if of_pattern or (of_folder and kind_of(target) in _readable()):
            raise UserError(f"--output {output} would be one of the files that --input {name} reads: name another.")


def _steps(path: Path) -> Sequence[str]:
    return Path(os.path.abspath(path)).parts


def _fits(steps: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path is of a pattern, as `glob` has it, where `**` is any number of folders."""
    if not pattern:
        return not steps
    if pattern[0] == "**":
        return _fits(steps, pattern[1:]) or (bool(steps) and _fits(steps[1:], pattern))
    return bool(steps) and fnmatchcase(steps[0], pattern[0]) and _fits(steps[1:], pattern[1:])


def _is_folder_of_files(path: Path) -> bool:
    return path.is_dir() and not is_saved_to_disk(path)


def _is_read(target: Path, name: str) -> bool:
    with contextlib.suppress(OSError):  # a standard input that is closed, a file that is not there
        read = os.fstat(sys.stdin.fileno()) if name == "-" else Path(name).expanduser().stat()
        return os.path.samestat(read, target.stat())
    return False
