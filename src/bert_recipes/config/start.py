"""How a script was started, and the line that starts another one likewise: by make, by its file, or from Python."""

import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

from bert_recipes.config.arguments import PYTHON, RECIPES, ModelArguments
from bert_recipes.config.help import command_name
from bert_recipes.config.saved import (
    METRICS_FILE,
    NOT_COMPARED,
    OF_A_START,
    RUN_FILE,
    processes_of,
    saved_configuration,
)
from bert_recipes.config.shipped import find_configuration
from bert_recipes.errors import UserError
from bert_recipes.files import read_yaml
from bert_recipes.processes import all_are_here, this_process


@dataclass(frozen=True)
class Start:
    """How a recipe, or a script like one, was started.

    Attributes:
        config: the YAML file that was named, if one was.
        flags: what was given beside it, by name: words of a command line, or values from Python.
        from_python: whether it was called as a function.
        processes: how many a command has to name.
    """

    config: str | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    from_python: bool = False
    processes: int = 1

    @classmethod
    def by_command(cls, argv: Sequence[str], config: str | None) -> "Start":
        """Take a command line without the program's name."""
        flags: dict[str, list[str]] = {}
        values: list[str] = []
        for word in argv:
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                values = flags[name] = [value] if equals else []
            else:
                values.append(word)
        flags.pop("config", None)
        return cls(config, flags, processes=_processes())

    def line(self, name: str, changes: Mapping[str, Any] | None = None) -> str | None:
        """Return what starts the recipe `name` with the same configuration and the same flags as far as it has them.

        That is None where it does not take the configuration, which is another recipe's or names its run's folder.

        Args:
            name: of the recipe.
            changes: values of flags that take the place of those given.
        """
        foreign = {key for other, part in RECIPES.items() if other != name for key in _own(part)} - _own(RECIPES[name])
        if self.config:
            values = read_yaml(find_configuration(Path(self.config)))
            if values.get("recipe", name) != name or values.keys() & (foreign | {"output_dir"}):
                return None
        return self.but_with(name, changes or {}, foreign)

    def with_config(self, name: str, config: str | Path) -> str:
        """Return what starts the recipe `name` with a configuration alone."""
        return self._command(name, config, {})

    def but_with(self, name: str, changes: Mapping[str, Any], without: Collection[str] = ()) -> str:
        """Return what starts the recipe `name` as it was started, but for the values of some flags.

        Args:
            name: of the recipe.
            changes: these values.
            without: flags that are left out, beside those of this run alone.
        """
        flags = {k: v for k, v in self.flags.items() if k not in without and not _is_of_a_run(k)}
        given = {k: v if self.from_python else [str(v)] for k, v in changes.items()}
        return self._command(name, self.config, flags | given)

    def _command(self, name: str, config: str | Path | None, flags: Mapping[str, Any]) -> str:
        if self.from_python:
            named = ({"config": str(config)} if config else {}) | dict(flags)
            return f'br.train("{name}"{"".join(f", {k}={_literal(v)}" for k, v in named.items())})'
        words = [word for flag, values in flags.items() for word in (f"--{flag}", *values)]
        if "MAKELEVEL" in os.environ:  # which make sets for what it starts
            made = ["make", f"recipe-{name}", *([f"CONFIG={_quoted(str(config))}"] if config else [])]
            made += [f"PROCS={self.processes}"] if self.processes > 1 else []
            return " ".join([*made, *([f"ARGS={shlex.quote(' '.join(map(_quoted, words)))}"] if words else [])])
        words = (["--config", str(config)] if config else []) + words
        return " ".join([_script(name, self.processes), *map(_quoted, words)])

    def on_gpus(self, name: str, count: int) -> str:
        """Return, for a sentence, what makes the recipe `name` use several GPUs."""
        if self.from_python:
            return f"accelerate's notebook_launcher with num_processes={count}, in a new kernel,"
        if "MAKELEVEL" in os.environ:
            return f"make recipe-{name} PROCS={count}"
        return _script(name, count)


def check_finished(folder: Path, named: str) -> None:
    """Check that the run in a folder is finished.

    Args:
        folder: of the run.
        named: what begins the sentence.

    Raises:
        UserError: it is not, and goes on by what the sentence ends with.
    """
    if not (folder / METRICS_FILE).is_file():
        raise UserError(f"{named} is a run that is not finished: finish it by {what_finishes(folder)}")


def what_finishes(folder: Path) -> str:
    """Return, for the end of a sentence, the command that takes the unfinished run in a folder to its end.

    A fold is finished with its whole run. The configuration alone does not tell where the rows were given from Python,
    or where it is no recipe's.
    """
    whole = folder.parent.parent
    if folder.parent.name != "folds" or not (whole / RUN_FILE).is_file():
        whole = folder
    configuration = saved_configuration(whole)
    name, dataset = configuration.get("recipe"), configuration.get("dataset") or [""]
    if name not in RECIPES or str(dataset[0]).startswith(PYTHON):
        return "the command or call that began it."
    moved = Path(configuration.get("output_dir") or "").resolve() != whole.resolve()
    # A script of this project's has the recipes beside it.
    from_python = not Path(sys.argv[0] or "-").with_name(f"{name}.py").is_file()
    counts = map(processes_of, whole.rglob("checkpoints/checkpoint-*"))
    start = Start(str(whole / RUN_FILE), from_python=from_python, processes=max(counts, default=1))
    return start.but_with(name, {"output_dir": str(whole)} if moved else {})


def _processes() -> int:
    """Return how many processes this one was started with, where a command can start them alike.

    That is not so of those on several machines, or of a launcher's configuration for FSDP or DeepSpeed.
    """
    sharded = {"ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"} & os.environ.keys()
    return this_process().count if all_are_here() and not sharded else 1


def _is_of_a_run(flag: str) -> bool:
    """Whether a flag is of one run alone: where it stands, how it is shown, what is pushed and by whose token."""
    return flag in NOT_COMPARED | OF_A_START | {"debug"} or flag.startswith(("hub_", "push_to_"))


def _own(part: type[ModelArguments]) -> set[str]:
    """Return the flags that are this recipe's own."""
    shared = {f.name for f in dataclasses.fields(ModelArguments)}
    return {f.name for f in dataclasses.fields(part)} - shared


def _script(name: str, count: int = 1) -> str:
    """Return how the script of a recipe is run where this one runs, in that many processes."""
    # Here, since --help needs no rich.
    from bert_recipes.terminal import in_notebook

    command = command_name()
    if command.startswith("python -m "):
        script = f"{command.rpartition('.')[0].removeprefix('python ')}.{name}"
    else:
        script = shlex.quote(str(Path(sys.argv[0]).with_name(f"{name}.py")))
    if count > 1:
        return f"accelerate launch --multi_gpu --num_processes {count} {script}"
    return f"{'%run' if in_notebook() else 'python'} {script}"


def _quoted(word: str) -> str:
    """Return a word as a shell takes it: as `shlex.quote`, which would also quote letters beyond ASCII."""
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else shlex.quote(word)


def _literal(value: Any) -> str:
    """Return a value as Python has it, as far as it is one that a line can hold."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, type | FunctionType):
        return value.__name__
    if isinstance(value, Path):
        value = str(value)
    return repr(value) if isinstance(value, str | int | float | None) else "…"
