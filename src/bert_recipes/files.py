"""Files that are written whole or not at all, and small files read with an error that says what is wrong."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bert_recipes.errors import UserError


@contextlib.contextmanager
def writing(path: Path, mode: str = "w") -> Iterator[Any]:
    """Open a file beside `path` for writing; rename it to `path` when the block ends without an error.

    Args:
        path: of the file to be.
        mode: `w` for text in UTF-8, `wb` for bytes.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with beside.open(mode, **text) as file:  # type: ignore[call-overload]
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{named} is no YAML: {' '.join(str(error).split())}") from error
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
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): run it again.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged (it holds no keys and values): run it again.")
    return values
