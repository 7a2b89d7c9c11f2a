"""From raw rows to checked splits with `id`, `text`, (`text_pair`,) `labels`.

Everything a later step relies on is checked here, so that a wrong file ends in one sentence before anything is
trained or written. Rows keep their ids from the file to the predictions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from datasets import Dataset, DatasetDict, Features, List, Value
from datasets.utils.logging import disable_progress_bar

from bert_recipes.columns import ID, LABELS, RESERVED, TEXT, TEXT_PAIR
from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.column_guessing import Columns, find_columns
from bert_recipes.data.embedded import is_embedded
from bert_recipes.data.folders import SPLITS
from bert_recipes.data.label_cells import Where
from bert_recipes.data.labels import Batch, find_task, label_encoder
from bert_recipes.data.readers import id_text
from bert_recipes.data.sources import read_source
from bert_recipes.data.splits import split_off_validation
from bert_recipes.data.text_files import TextFormat
from bert_recipes.errors import UserError, some
from bert_recipes.task import MULTI_LABEL, REGRESSION, Task


@dataclass
class TextData:
    """The data of a run: checked splits, what the labels are, and where it came from."""

    splits: DatasetDict
    task: Task
    columns: Columns
    source: str
    sample_submission: Path | None = None
    notes: list[str] = field(default_factory=list)
    text_format: TextFormat = field(default_factory=TextFormat)

    def labelled_rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield split, id, label and text, both of a pair, of every labelled row; of a regression none."""
        names = self.task.label_names
        for split, rows in self.splits.items():
            if LABELS not in rows.column_names or self.task.problem_type == REGRESSION:
                continue
            for batch in rows.iter(10_000):
                pairs = batch.get(TEXT_PAIR, [None] * len(batch[ID]))
                for identifier, label, text, pair in zip(batch[ID], batch[LABELS], batch[TEXT], pairs, strict=True):
                    held = [label] if isinstance(label, int) else [i for i, holds in enumerate(label) if holds]
                    both = text if pair is None else f"{text}\n{pair}"
                    yield split, identifier, "|".join(names[i] for i in held), both


def load_data(args: DataArguments) -> TextData:
    """Read, check and split the data that `args` names.

    Returns:
        `TextData` with a `train` and a `validation` split and, where the source has one, a `test` split. The
        validation split is cut from `train` when the source has none: stratified by label, seeded by
        `args.split_seed`, with all copies of one text on one side. Columns that play no part here stay under their
        own names. With `args.folds` there is no `validation` split: each fold is one in turn.

    Raises:
        UserError: anything about the source, the columns, the texts or the labels that would spoil the run.
    """
    disable_progress_bar()
    # The main process fills the cache on disk, the others read it.
    with PartialState().main_process_first():
        return _load(args)


def _load(args: DataArguments) -> TextData:
    data = _read(args)
    splits, notes = data.splits, data.notes
    if args.folds:
        if splits.pop("validation", None) is not None:
            notes.append("The validation split there is left out: --folds takes its validation rows from train.")
    elif "validation" not in splits:
        splits["train"], splits["validation"] = split_off_validation(
            splits["train"], args.validation_size, args.split_seed, data.task.problem_type
        )
        notes.append(
            f"No validation split there: {len(splits['validation']):,} rows cut from train (stratified, seed "
            f"{args.split_seed}, copies of one text on one side)."
        )
    data.splits = DatasetDict({split: splits[split] for split in SPLITS if split in splits})
    return data


def _read(args: DataArguments) -> TextData:
    # A function of its own: the pages of the source's files count as this process's memory until it returns.
    source = read_source(args)
    if "train" not in source.splits:
        raise UserError(f"{source.name} has no train split: it has {', '.join(source.splits) or 'no data files'}.")
    columns = find_columns(
        source.splits["train"].column_names,
        source.name,
        text=args.text_column,
        text_pair=args.text_pair_column,
        label=args.label_column,
        id=args.id_column,
    )
    for split, rows in source.splits.items():
        _check_columns(rows, split, columns, source.name)
    train = Where(source.splits["train"], "train", source.name, columns.id)
    task = find_task(train, columns.label, args.task, args.label_delimiter, args.labels)
    splits = {split: _canonical(rows, split, columns, task, source.name) for split, rows in source.splits.items()}
    notes = [*source.notes]
    if args.task is None:
        notes.append(f"The task was guessed from the labels: {task.name}; --task names another.")
    if None in (args.text_column, args.label_column) and not is_embedded(source.name):
        notes.append(
            "The columns were guessed by their names; --text_column, --text_pair_column, --label_column and "
            "--id_column choose others."
        )
    if columns.id is None:
        notes.append("No id column: the rows' numbers, from 0, are their ids.")
    names = dict.fromkeys(name for rows in source.splits.values() for name in rows.column_names)
    if dropped := [name for name in names if name in RESERVED - columns.used]:
        notes.append(f"Left out, since a run has columns of that name itself: {', '.join(dropped)}.")
    return TextData(
        DatasetDict(splits), task, columns, source.name, source.sample_submission, notes, source.text_format
    )


def _check_columns(rows: Dataset, split: str, columns: Columns, source: str) -> None:
    needed = [columns.text, columns.text_pair, columns.id]
    if split != "test":
        needed += columns.label
    missing = [name for name in needed if name is not None and name not in rows.column_names]
    if missing:
        raise UserError(
            f"{source}: the {split} split has no column {missing[0]}; it has {', '.join(rows.column_names)}."
        )
    if len(rows) == 0:
        raise UserError(f"{source}: the {split} split has no rows.")


def _canonical(rows: Dataset, split: str, columns: Columns, task: Task, source: str) -> Dataset:
    where = Where(rows, split, source, columns.id)
    if columns.id:
        _refuse_repeated_ids(rows, split, columns, source)
    texts = {TEXT: columns.text} | ({TEXT_PAIR: columns.text_pair} if columns.text_pair else {})
    for column in texts.values():
        _check_texts(where, column)
    features: dict[str, Any] = {ID: Value("string"), **dict.fromkeys(texts, Value("string"))}
    encode = label_encoder(task, where)
    if encode is not None:
        features[LABELS] = List(Value("float64")) if task.problem_type in (MULTI_LABEL, REGRESSION) else Value("int64")
    others = [name for name in rows.column_names if name not in columns.used | RESERVED]

    def canonical(batch: Batch, numbers: list[int]) -> Batch:
        out = {ID: [id_text(cell) for cell in (batch[columns.id] if columns.id else numbers)]}
        for part, column in texts.items():
            out[part] = ["" if cell is None else cell for cell in batch[column]]
        if encode is not None:
            out[LABELS] = encode(batch, numbers)
        return out | {name: batch[name] for name in others}

    return rows.map(
        canonical,
        batched=True,
        with_indices=True,
        remove_columns=rows.column_names,
        features=Features(features | {name: rows.features[name] for name in others}),
    )


def _refuse_repeated_ids(rows: Dataset, split: str, columns: Columns, source: str) -> None:
    cells = rows.data.column(columns.id)
    try:
        counts = pc.value_counts(cells.combine_chunks())
    except pa.ArrowNotImplementedError as error:
        raise UserError(
            f"{source}: the id column '{columns.id}' of {split} holds {cells.type}: give a text or a number, or name "
            "another with --id_column."
        ) from error
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        raise UserError(
            f"{source}: the id column '{columns.id}' of {split} holds {len(twice)} ids more than once, {some(twice)}: "
            "make them unique, or name another with --id_column."
        )


def _check_texts(where: Where, column: str) -> None:
    cells = where.rows.data.column(column)
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type) or pa.types.is_null(cells.type)):
        raise UserError(f"{where.source}: the text column '{column}' of {where.split} holds {cells.type}, not text.")
    # A text that is empty in test must still be predicted: a submission needs every row.
    if where.split != "test":
        empty = np.flatnonzero(np.concatenate([_is_empty(chunk) for chunk in cells.chunks]))
        if len(empty):
            raise UserError(
                f"{where.source}: the text column '{column}' is empty in {where.which(empty)} of {where.split}: "
                "fill in or remove."
            )


def _is_empty(texts: pa.Array) -> np.ndarray:
    if pa.types.is_null(texts.type):
        return np.ones(len(texts), dtype=bool)
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(texts), ""), True).to_numpy(zero_copy_only=False)
