"""Callbacks of the user's own: `--callbacks file.py:Name`, or classes and objects given from Python."""

import copy
import inspect
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState, TrainerState
from transformers.trainer_utils import IntervalStrategy

from bert_recipes.errors import UserError, in_one_line
from bert_recipes.modeling.own_code import CODE_ERRORS, load_object

FLAG = "--callbacks"


class CallbackObjects(dict[str, TrainerCallback]):
    """Callbacks that were given from Python as objects, by how the flag names them."""

    def __reduce__(self) -> Any:
        # A checkpoint pickles the arguments, and an object may hold what cannot be pickled, such as an open file.
        return CallbackObjects, ()

    def copied(self) -> "CallbackObjects":
        """Return them as they are before a training, for one of several, each of which counts by itself.

        Raises:
            UserError: one cannot be copied.
        """
        copies = CallbackObjects()
        for spec, callback in self.items():
            try:
                copies[spec] = copy.deepcopy(callback)
            except CODE_ERRORS as error:
                raise UserError(
                    f"callbacks: --folds needs an object for each fold, and {type(callback).__name__} cannot be "
                    f"copied ({in_one_line(error)}): give the class."
                ) from error
        return copies


def callback_class(spec: str) -> type[TrainerCallback]:
    """Return the class that `file.py:Name` names.

    Raises:
        UserError: there is none, it is no `TrainerCallback`, or it cannot be made without arguments.
    """
    found: Any = load_object(spec, FLAG)
    if not (isinstance(found, type) and issubclass(found, TrainerCallback)):
        raise UserError(f"{FLAG} {spec}: it is not a subclass of transformers.TrainerCallback.")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise UserError(f"{FLAG} {spec}: a callback is made without arguments, and it has some: {error}.") from error
    return found


def check_callbacks(args: TrainingArguments) -> None:
    """Check that `args` name callbacks, without making one.

    Raises:
        UserError: they do not.
    """
    stopping = early_stopping_callbacks(args)
    if stopping and args.eval_strategy == IntervalStrategy.NO:
        raise UserError(
            f"{FLAG} {stopping[0]} stops by evaluations, and there are none: give an --eval_strategy, or leave it out."
        )


def early_stopping_callbacks(args: TrainingArguments) -> list[str]:
    """Return which of the callbacks that `args` name are of the class `EarlyStoppingCallback` or one derived from it.

    Raises:
        UserError: one is no callback.
    """
    given = getattr(args, "callback_objects", None) or CallbackObjects()
    kinds = {
        spec: type(given[spec]) if spec in given else callback_class(spec)
        for spec in getattr(args, "callbacks", None) or []
    }
    return [spec for spec, kind in kinds.items() if issubclass(kind, EarlyStoppingCallback)]


def own_callbacks(args: TrainingArguments) -> list[TrainerCallback]:
    """Return the callbacks that `args` name: those that were given as objects, and new ones of the others' classes.

    Raises:
        UserError: one cannot be made.
    """
    given = getattr(args, "callback_objects", None) or CallbackObjects()
    return [given[spec] if spec in given else _made(spec) for spec in getattr(args, "callbacks", None) or []]


def _made(spec: str) -> TrainerCallback:
    kind = callback_class(spec)
    try:
        return kind()
    except CODE_ERRORS as error:
        raise UserError(f"{FLAG} {spec}: it cannot be made: {type(error).__name__}: {in_one_line(error)}") from error


def restore_states(callbacks: list[TrainerCallback], state: TrainerState) -> None:
    """Give callbacks that export their state (`ExportableState`) what they had when a checkpoint was written."""
    exported: Any = state.stateful_callbacks  # by name, once a checkpoint has been read
    for name, saved in exported.items():
        there = [one for one in callbacks if isinstance(one, ExportableState) and type(one).__name__ == name]
        for callback, values in zip(there, saved if isinstance(saved, list) else [saved], strict=False):
            vars(callback).update(values.get("attributes", {}))


def with_own_objects(args: Any) -> Any:
    """Return a copy of the arguments of a training whose callbacks are objects of its own."""
    own = copy.copy(args)
    if own.callback_objects:
        own.callback_objects = own.callback_objects.copied()
    return own
