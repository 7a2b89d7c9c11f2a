"""A user's own pooling or loss: `file.py:name`, loaded from where the user says."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from bert_recipes.errors import UserError, nearest

# What a mistake in somebody's code comes out as.
CODE_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError),
)


def is_own_code(spec: str) -> bool:
    """Whether `spec` names something in a Python file, as `my_loss.py:my_loss` does."""
    return ".py:" in spec or spec.endswith(".py")


def file_of(spec: str) -> Path:
    """Return the file that `path/to/file.py:name` speaks of, with or without the name."""
    return Path(spec.partition(".py:")[0].removesuffix(".py") + ".py").expanduser()


def load_object(spec: str, flag: str) -> Callable:
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
    if not path.is_file():
        raise UserError(f"{flag} {spec}: there is no file {path} (looked in {Path.cwd()}).")
    module = _run(path, f"{flag} {spec}")
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


def _run(path: Path, what: str):
    # Not the file's own name, which may be that of a library.
    name = f"own_code:{path.resolve()}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    module.__source__ = path.read_text(encoding="utf-8")
    sys.modules[name] = module
    # What stands beside the file can be imported by it, as when it is run as a script.
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        exec(compile(module.__source__, path, "exec"), vars(module))
    except (*CODE_ERRORS, SystemExit) as error:
        del sys.modules[name]
        said = " ".join(str(error).split())
        raise UserError(f"{what}: {path} does not run: {type(error).__name__}: {said}") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module
