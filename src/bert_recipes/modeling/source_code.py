"""The source of a class or a function that a notebook or a program defined, as a file that stands alone."""

import ast
import builtins
import importlib.util
import inspect
import linecache
import symtable
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from bert_recipes.errors import UserError

CONSTANTS = (int, float, complex, str, bytes, bool, type(None))
# A saved model carries a file of its own in the place of this module.
CARRIED = "bert_recipes.modeling.pooling"


def source_of(found: Callable[..., Any], flag: str) -> str:
    """Return a file's text that defines `found`, with the imports, constants and helpers that it uses.

    Args:
        found: a class or a function.
        flag: that it was given as, for the sentence of an error.

    Raises:
        UserError: it has no name or no source, or uses an object that a file cannot hold.
    """
    if not isinstance(found, type | FunctionType) or not found.__name__.isidentifier():
        cure = "define it with class or def"
        if flag == "loss":
            cure = "write def my_loss(logits, labels) around it, which returns one number per example"
        raise UserError(
            f"{flag}: a class or a function with a name is needed, and a {type(found).__name__} came: {cure}."
        )
    if _is_of_a_library(found):
        return f"from {found.__module__} import {found.__name__}\n"
    parts = _Parts(flag, found.__name__)
    parts.add(found)
    head = [*dict.fromkeys(parts.imports), "", *parts.constants]
    return "\n".join(head).strip() + "\n\n\n" + "\n\n\n".join(parts.definitions) + "\n"


class _Parts:
    """What goes into the file: imports, constants, and definitions, each after those that it uses."""

    def __init__(self, flag: str, name: str):
        self.flag, self.name = flag, name
        self.imports: list[str] = []
        self.constants: list[str] = []
        self.definitions: list[str] = []
        self.seen: set[str] = set()

    def add(self, found: Any) -> None:
        self.seen.add(found.__name__)
        try:
            source = textwrap.dedent(_source(found))
        except (OSError, TypeError) as error:
            raise UserError(
                f"{self.flag}: the source of {found.__name__} cannot be had here: write it into a file and give "
                f"file.py:{found.__name__}."
            ) from error
        free = list(getattr(getattr(found, "__code__", None), "co_freevars", ()))
        if free or "<locals>" in found.__qualname__:
            uses = f" and uses its {free[0]}" if free else ""
            raise UserError(
                f"{self.flag}: {found.__name__} is defined within a function{uses}: define it outside of one."
            )
        namespace = vars(sys.modules[found.__module__])
        for name in _globals_of(source):
            if name in namespace and name not in self.seen:
                self._add_global(name, namespace[name])
        self.definitions.append(source.rstrip())

    def _add_global(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _is_installed(value.__name__):
            self.imports.append(f"import {value.__name__} as {name}")
        elif _is_constant(value):
            self.constants.append(f"{name} = {value!r}")
        elif _is_of_a_library(value):
            self.imports.append(f"from {value.__module__} import {value.__name__} as {name}")
        elif module := _module_that_holds(name, value):
            self.imports.append(f"from {module} import {name}")
        elif isinstance(value, type | FunctionType) and value.__name__ == name:
            self.add(value)
        else:
            raise UserError(
                f"{self.flag}: {self.name} uses '{name}', a {type(value).__name__} that a file cannot hold: put it "
                f"into {self.name}, or write a file and give file.py:{self.name}."
            )


def _source(found: Any) -> str:
    """Return the lines that define a class or function, in a notebook too."""
    try:
        return inspect.getsource(found)
    except (OSError, TypeError):
        # A notebook's module has no file, and a class of it is found by the cell that its methods are from.
        code = next((code for value in vars(found).values() if (code := getattr(value, "__code__", None))), None)
        if not isinstance(found, type) or code is None:
            raise
        lines = linecache.getlines(code.co_filename)
        for node in ast.walk(ast.parse("".join(lines))):
            if isinstance(node, ast.ClassDef) and node.name == found.__name__:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                return "".join(lines[first - 1 : node.end_lineno])
        raise


def _is_constant(value: Any) -> bool:
    return all(map(_is_constant, value)) if isinstance(value, tuple) else isinstance(value, CONSTANTS)


def _globals_of(source: str) -> Iterator[str]:
    """Yield the names that a definition looks up outside of itself."""

    def walk(table: symtable.SymbolTable) -> Iterator[str]:
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or (top and not symbol.is_assigned())):
                yield symbol.get_name()
        for child in table.get_children():
            yield from walk(child)

    yield from dict.fromkeys(name for name in walk(symtable.symtable(source, "<source>", "exec")))


def _is_of_a_library(value: Any) -> bool:
    """Whether `from module import name` finds `value` wherever its library is installed."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if module is None or name is None or module == "__main__" or module not in sys.modules:
        return False
    if sys.modules[module].__spec__ is None:  # a notebook's
        return False
    if module == CARRIED or getattr(sys.modules[module], name, None) is not value:
        return False
    return _is_installed(module)


def _module_that_holds(name: str, value: Any) -> str | None:
    """Return the library that has `value` by this name, which a value such as torch.float32 does not know itself."""
    if getattr(value, "__module__", None) == CARRIED:
        return None
    found = []
    for module, there in list(sys.modules.items()):
        # Not by getattr, for which some modules import others.
        is_public = "__main__" not in module and not any(part.startswith("_") for part in module.split("."))
        if is_public and isinstance(there, ModuleType) and vars(there).get(name) is value and there.__spec__:
            found.append(module)
    return next((module for module in sorted(found, key=len) if _is_installed(module)), None)


def _is_installed(module: str) -> bool:
    """Whether a module is the standard library's, a package's that is installed, or this project's."""
    top = module.partition(".")[0]
    if top in ("bert_recipes", *sys.stdlib_module_names, builtins.__name__):
        return True
    specification = importlib.util.find_spec(top)
    origin = specification.origin if specification else None
    libraries = {sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib")}
    return origin is not None and any(Path(origin).is_relative_to(folder) for folder in libraries)
