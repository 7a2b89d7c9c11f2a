"""The folder of an export: what its `export.json` says, read and checked."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_recipes.columns import MODEL_INPUTS
from bert_recipes.config.reading import Reading
from bert_recipes.data.cells import Known
from bert_recipes.errors import UserError
from bert_recipes.files import digest_of
from bert_recipes.task import PROBLEM_TYPES

EXPORT_FILE, TOKENIZER_FILE = "export.json", "tokenizer.json"
# Of `EXPORT_FILE`: raised when a folder of the number before could not be read any more.
EXPORT_FORMAT = 1
ENGINES = ("onnx", "openvino")
FILE_NAME = re.compile(r"\w[\w.-]*")
# What each key of `EXPORT_FILE` holds, of those that prediction needs.
KINDS: dict[str, type | tuple[type, ...]] = {
    "engine": str,
    "precision": str,
    "graphs": list,
    "files": dict,
    "labels": list,
    "problem_type": str,
    "max_length": int,
    "reading": dict,
    "inputs": list,
    "pad_token_id": int,
    "tokenizer": dict,
    "trained_on": dict,
}


def is_export(name: str | Path) -> bool:
    """Whether `name` is the folder of an export."""
    return (Path(name).expanduser() / EXPORT_FILE).is_file()


@dataclass(frozen=True)
class GraphFile:
    """A graph of an export.

    Attributes:
        file: its name in the folder.
        weight: of what it predicts, where there are several.
        columns: what is known of each column that it takes beside the text.
    """

    file: str
    weight: float
    columns: Mapping[str, Known]


@dataclass(frozen=True)
class Export:
    """What the folder of an export holds.

    Attributes:
        folder: its path.
        engine: one of `ENGINES`.
        precision: `float32` or `int8`.
        graphs: one, or those of a run's folds.
        labels: `[num_labels]`.
        problem_type: what transformers calls the task.
        max_length: tokens of the longest text, or of a window.
        reading: which tokens of a longer text are read.
        inputs: the lists of tokens that a graph takes.
        pad_token_id: of the tokenizer.
        tokenizer: what of the tokenizer does not stand in `TOKENIZER_FILE`: `sep_token`, `truncation_side`,
            `split_special_tokens`, and `embeddings` as `TextTokenizer` has it.
        trained_on: of the run's configuration, what says how rows are read.
    """

    folder: Path
    engine: str
    precision: str
    graphs: list[GraphFile]
    labels: list[str]
    problem_type: str
    max_length: int
    reading: Reading
    inputs: list[str]
    pad_token_id: int
    tokenizer: dict[str, Any]
    trained_on: dict[str, Any]

    @classmethod
    def read(cls, name: str | Path) -> "Export":
        """Read the folder of an export, and check that all its files are those that were written.

        Raises:
            UserError: it was written by a version of another format, or a file is missing or damaged.
        """
        folder = Path(name).expanduser()
        values = _read_values(folder)
        try:
            export = cls(
                folder=folder,
                graphs=[
                    GraphFile(str(g["file"]), float(g["weight"]), g.get("columns") or {}) for g in values["graphs"]
                ],
                reading=Reading.of(values["reading"]),
                **{key: values[key] for key in cls.__annotations__ if key not in ("folder", "graphs", "reading")},
            )
            export.check()
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            raise _damaged(folder / EXPORT_FILE, str(error)) from error
        _check_files(folder, values["files"], [TOKENIZER_FILE, *(graph.file for graph in export.graphs)])
        return export

    def check(self) -> None:
        """Check that all of it means something.

        Raises:
            ValueError: it does not.
        """
        if not math.isclose(sum(graph.weight for graph in self.graphs), 1, abs_tol=1e-6):
            raise ValueError("its weights are not one in all")
        if not self.labels or not all(isinstance(label, str) for label in self.labels):
            raise ValueError("its labels are no texts")
        if self.engine not in ENGINES or self.problem_type not in PROBLEM_TYPES.values():
            raise ValueError(f"there is no engine '{self.engine}' or no task '{self.problem_type}'")
        if "input_ids" not in self.inputs or not {*self.inputs} <= {*MODEL_INPUTS}:
            raise ValueError(f"its inputs are {self.inputs}")
        for name, known in (column for graph in self.graphs for column in graph.columns.items()):
            if {*known} not in ({"mean"}, {"categories"}):
                raise ValueError(f"of the column '{name}' it says {known}")


def _read_values(folder: Path) -> dict[str, Any]:
    path = folder / EXPORT_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no export: it has no {EXPORT_FILE}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    found = values.get("format") if isinstance(values, dict) else None
    if not isinstance(found, int):
        raise _damaged(path, "it does not say its format")
    if found != EXPORT_FORMAT:
        raise UserError(
            f"{folder} is an export of format {found}, by version {values.get('bert_recipes')} of bert-recipes, and "
            f"this version reads format {EXPORT_FORMAT}: export the run again, or install that version."
        )
    for key, kind in KINDS.items():
        if not isinstance(values.get(key), kind) or isinstance(values.get(key), bool):
            raise _damaged(path, f"its '{key}' is {values.get(key)!r}")
    return values


def _check_files(folder: Path, digests: Mapping[str, str], needed: list[str]) -> None:
    """Check every file by its digest: of a gigabyte that takes a second, and loading it several."""
    for name in digests:
        # No other folder's: what is loaded stands in this one.
        if not FILE_NAME.fullmatch(name):
            raise _damaged(folder / EXPORT_FILE, f"a file of it is called {name!r}")
    for name in {*needed} - {*digests}:
        raise _damaged(folder / EXPORT_FILE, f"it has no digest of {name}")
    for name, digest in digests.items():
        path = folder / name
        try:
            found = digest_of(path)
        except FileNotFoundError as error:
            raise UserError(
                f"{folder} is no complete export: {name} is missing; copy it again, or export the run again."
            ) from error
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error
        if found != digest:
            raise _damaged(path, "its SHA-256 is not the one that export.json has")


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged ({' '.join(why.split())}): copy the export again, or export the run again.")
