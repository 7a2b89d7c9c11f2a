"""Values of YAML files and of Python's keywords, checked by the types of the fields that they are for.

What a flag takes as text a key takes as text too, so both doors let the same values through.
"""

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from numbers import Integral, Real
from os import PathLike
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bert_recipes.config.unsupported import FIXED
from bert_recipes.errors import UserError, nearest

# What `HfArgumentParser` takes for a switch.
BOOLEANS = dict.fromkeys(("yes", "true", "t", "y", "1"), True) | dict.fromkeys(("no", "false", "f", "n", "0"), False)
# `DataArguments` tells names from the rows themselves; of what cannot be honoured any other value is refused anyway.
NOT_CHECKED = {"dataset", *FIXED}


def checked_values(values: Mapping[str, Any], parts: tuple[type, ...], where: str) -> dict[str, Any]:
    """Return values as the flags of their names would give them.

    Args:
        values: by the names of fields of `parts`; those of no field stay as they are.
        parts: the dataclasses whose fields are flags.
        where: the values stand, for a sentence.

    Raises:
        UserError: a value is of a type that its field cannot hold.
    """
    checked = dict(values)
    for part in parts:
        types = get_type_hints(part)
        for field in dataclasses.fields(part):
            if field.name in checked and field.name not in NOT_CHECKED:
                checked[field.name] = _checked(checked[field.name], field, types[field.name], where)
    return checked


def _checked(value: Any, field: dataclasses.Field[Any], kind: Any, where: str) -> Any:
    def refused(wanted: str) -> UserError:
        return UserError(f"{where}: {field.name} is {value}, and takes {wanted}.")

    options = get_args(kind) if get_origin(kind) not in (None, list, dict, Literal) else (kind,)
    kinds = [get_origin(option) or option for option in options]
    if value is None:
        if type(None) in kinds or field.default is None:
            return None
        raise UserError(f"{where}: {field.name} has no value: give one, or leave it out.")
    if _is_of(value, options):
        return value
    choices = field.metadata.get("choices") or [choice for one in kinds for choice in _members(one)]
    if list in kinds and (isinstance(value, list | tuple | dict) or str not in kinds):
        return [_chosen(one, field, choices, where) for one in _several(value, refused)]
    if isinstance(value, list | tuple | dict | set):
        raise refused("one value")
    if not choices:
        return _single(value, kinds, refused)
    if value is False and "no" in choices:
        return "no"  # what YAML makes of it
    return _chosen(value, field, choices, where)


def _chosen(value: Any, field: dataclasses.Field[Any], choices: list[Any], where: str) -> Any:
    if choices and value not in choices:
        raise UserError(f"{where}: {field.name} is {value}{nearest(str(value), choices)}: take {', '.join(choices)}.")
    return value


def _is_of(value: Any, options: tuple[Any, ...]) -> bool:
    """Whether a field that may be any of `options` holds the value as it is; numbers, texts and lists are seen to."""
    for option in options:
        kind = get_origin(option) or option
        if kind is Literal and any(value is one for one in get_args(option)):
            return True
        if isinstance(kind, type) and kind not in (int, float, list, str, Any) and isinstance(value, kind):
            return True
    return False


def _members(kind: Any) -> list[str]:
    return [member.value for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _several(value: Any, refused: Callable[[str], UserError]) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}={option}" for name, option in value.items()]
    several = list(value) if isinstance(value, list | tuple) else [value]
    if any(one is None or isinstance(one, list | tuple | dict | set) for one in several):
        raise refused("a list of plain values")
    return [str(one) for one in several]


def _single(value: Any, kinds: list[Any], refused: Callable[[str], UserError]) -> Any:
    """Return a switch, a number or a text as the flag of that type would give it."""
    if str in kinds:
        if isinstance(value, bool):
            raise refused('a text: put it between quotation marks, as in "no"')
        if dict in kinds and not isinstance(value, str | PathLike):
            raise refused("keys and values")
        if not isinstance(value, str | Real | PathLike):
            raise refused("a text")
        return str(value)
    if bool in kinds:
        if (text := str(value).strip().lower()) not in BOOLEANS:
            raise refused("true or false")
        return BOOLEANS[text]
    if int in kinds:
        return _number(value, int, Integral, refused("a whole number"))
    return _number(value, float, Real, refused("a number")) if float in kinds else value


def _number(value: Any, kind: type, like: type, refused: UserError) -> Any:
    if isinstance(value, bool):
        raise refused
    if isinstance(value, int):
        return value  # in a float's place too: run.yaml holds what was given
    if isinstance(value, like):
        return kind(value)
    try:
        return kind(str(value).strip())
    except ValueError as error:
        raise refused from error
