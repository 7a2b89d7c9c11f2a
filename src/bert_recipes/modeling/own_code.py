"""A user's own classifier, pooling or loss: `file.py:name`, loaded from where the user says, or given from Python."""

import ast
import importlib.util
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from bert_recipes.errors import UserError, in_one_line, nearest
from bert_recipes.modeling.source_code import source_of

# What a mistake in somebody's code comes out as.
CODE_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError),
)
# What the names of its modules begin with.
OWN_CODE = "own_code:"


def is_own_code(spec: str) -> bool:
    """Whether `spec` names something in a Python file, as `my_loss.py:my_loss` does."""
    return ".py:" in spec or spec.endswith(".py")


def file_of(spec: str) -> Path:
    """Return the file that `path/to/file.py:name` speaks of, with or without the name."""
    return Path(spec.partition(".py:")[0].removesuffix(".py") + ".py").expanduser()


def load_object(spec: str, flag: str) -> Callable[..., Any]:
    """Return what a Python file defines under a name.

    Args:
        spec: `path/to/file.py:name`.
        flag: that it was given with, for the sentence of an error.

    Raises:
        UserError: there is no such file, it does not run, or it does not define the name as something to call.
    """
    path, name = file_of(spec), spec.partition(".py:")[2]
    if not name.isidentifier():
        raise UserError(f"{flag} {spec}: name what the file defines too, as in my_file.py:MyName.")
    module = sys.modules.get(_module_name(path))
    if module is None:
        if not path.is_file():
            raise UserError(f"{flag} {spec}: there is no file {path} (looked in {Path.cwd()}).")
        module = _run(path, path.read_text(encoding="utf-8"), f"{flag} {spec}")
    found = getattr(module, name, None)
    if found is None:
        defined = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise UserError(
            f"{flag} {spec}: {path} does not define {name}{nearest(name, defined)}; it defines "
            f"{', '.join(defined) or 'nothing'}."
        )
    if not callable(found):
        raise UserError(f"{flag} {spec}: {name} is a {type(found).__name__}, and a class or a function is needed.")
    return found


def load_carried(spec: str, flag: str, others: Collection[str]) -> Callable[..., Any]:
    """As `load_object`, of a file that goes along with a saved model: it must stand alone.

    Args:
        spec: `path/to/file.py:name`.
        flag: that it was given with, for the sentence of an error.
        others: names, without `.py`, of the files of this project that go along too.

    Raises:
        UserError: as `load_object`; or the file's name is taken, cannot be imported, or it needs a file beside it.
    """
    path = file_of(spec)
    file = path.stem
    if file in others:
        raise UserError(f"{flag} {spec}: a saved model carries a file {file}.py of its own: rename yours.")
    if not file.isidentifier():
        raise UserError(f"{flag} {spec}: {file}.py cannot be imported by that name: rename it.")
    found = load_object(spec, flag)
    for needed in _imports_of(source_at(spec) or ""):
        if path.with_name(f"{needed}.py").is_file():
            raise UserError(
                f"{flag} {spec}: {file}.py imports {needed}.py beside it, which a saved model would not carry: put "
                "both into one file."
            )
    return found


def _imports_of(source: str) -> set[str]:
    tree = ast.parse(source)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def keep_object(found: Callable[..., Any], path: Path, flag: str) -> str:
    """Return `path:name` for a class or a function given from Python; `load_object` then finds it there.

    Its source, with what it needs of the program that defined it, is what runs and what `source_at` returns, so that
    what is written down is what was trained with. Nothing is written here.

    Args:
        found: the class or function.
        path: of the file that its source is to be written to.
        flag: that it was given as, for the sentence of an error.

    Raises:
        UserError: its source cannot be had, or needs an object that a file cannot hold.
    """
    known = getattr(sys.modules.get(found.__module__), "__source__", None)
    if known is not None:  # load_object's own
        return f"{sys.modules[found.__module__].__file__}:{found.__name__}"
    source, path = source_of(found, flag), path.expanduser()
    sys.modules.pop(_module_name(path), None)
    _run(path, source, f"{flag} {found.__name__}")
    return f"{path}:{found.__name__}"


@contextmanager
def failing_in_a_sentence() -> Iterator[None]:
    """Make a sentence of what a user's own code raises, in itself or in what it has called.

    Raises:
        UserError: it has raised something; the sentence names its file and line.
    """
    try:
        yield
    except CODE_ERRORS as error:
        frames = [
            (frame.f_code, line)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if str(frame.f_globals.get("__name__")).startswith(OWN_CODE)
        ]
        if not frames:
            raise
        code, line = frames[-1]
        raise UserError(
            f"{code.co_filename}, line {line}: {code.co_name} fails with {type(error).__name__}: {in_one_line(error)}"
        ) from error


def source_at(spec: str) -> str | None:
    """Return the source of the file of `spec` as it was when it was loaded, or None where it was not."""
    return getattr(sys.modules.get(_module_name(file_of(spec))), "__source__", None)


def _module_name(path: Path) -> str:
    # Not the file's own name, which may be that of a library.
    return f"{OWN_CODE}{path.resolve()}"


def _run(path: Path, source: str, what: str) -> ModuleType:
    name = _module_name(path)
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    module.__source__ = source  # type: ignore[attr-defined]
    sys.modules[name] = module
    folder, known = path.parent.resolve(), set(sys.modules)
    # What stands beside the file can be imported by it, as when it is run as a script.
    sys.path.insert(0, str(folder))
    try:
        exec(compile(source, path, "exec"), vars(module))
    except (*CODE_ERRORS, SystemExit) as error:
        del sys.modules[name]
        said = " ".join(str(error).split())
        raise UserError(f"{what}: {path} does not run: {type(error).__name__}: {said}") from error
    finally:
        sys.path.remove(str(folder))
        # A file in another folder may have another module of that name beside it.
        for other in sys.modules.keys() - known:
            origin = getattr(sys.modules[other], "__file__", None)
            if origin and Path(origin).parent.resolve() == folder:
                del sys.modules[other]
    return module
