"""From raw rows to checked splits with `id`, `text`, (`text_pair`,) `labels`.

Everything a later step relies on is checked here, so that a wrong file ends in one sentence before anything is
trained or written. Rows keep their ids from the file to the predictions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from datasets import Dataset, DatasetDict, Features, List, Value
from datasets.utils.logging import disable_progress_bar

from bert_recipes.columns import ID, LABELS, RESERVED, TEXT, TEXT_PAIR
from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.cells import id_text
from bert_recipes.data.column_guessing import Columns, find_columns, joined, listed
from bert_recipes.data.corrections import Corrections, correct
from bert_recipes.data.embedded import is_embedded
from bert_recipes.data.folders import SPLITS
from bert_recipes.data.label_cells import NO_TEST_LABELS, Where, with_decimal_points
from bert_recipes.data.labels import Batch, find_task, label_encoder
from bert_recipes.data.sample import Sample, check_ids, read_sample
from bert_recipes.data.sources import Source, read_source
from bert_recipes.data.splits import assign_folds, column, label_order, split_off_validation
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
    sample: Sample | None = None
    notes: list[str] = field(default_factory=list)
    text_format: TextFormat = field(default_factory=TextFormat)
    corrections: Corrections | None = None

    def folds(self, k: int, seed: int) -> np.ndarray:
        """Return the fold of each row of train, `[rows]`, from 0, as `assign_folds` deals them."""
        before = self.corrections.labels_before if self.corrections else None
        return assign_folds(self.splits["train"], k, seed, self.task.problem_type, label_order(self.task), before)

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


def load_uncut(args: DataArguments) -> TextData:
    """As `load_data`, with the splits that the source has: none is cut from another, and none is left out."""
    disable_progress_bar()
    with PartialState().main_process_first():
        data = _read(args)
    return _finished(data, data.splits)


def _load(args: DataArguments) -> TextData:
    data = _read(args)
    splits, notes = data.splits, data.notes
    if args.folds:
        if splits.pop("validation", None) is not None:
            notes.append("The validation split there is left out: --folds takes its validation rows from train.")
    elif "validation" not in splits:
        splits["train"], splits["validation"] = split_off_validation(
            splits["train"],
            args.validation_size,
            args.split_seed,
            data.task.problem_type,
            label_order(data.task),
            data.corrections.labels_before if data.corrections else None,
        )
        notes.append(
            f"No validation split there: {len(splits['validation']):,} rows cut from train (stratified, seed "
            f"{args.split_seed}, copies of one text on one side)."
        )
    return _finished(data, splits)


def _finished(data: TextData, splits: DatasetDict) -> TextData:
    data.splits = DatasetDict({split: splits[split] for split in SPLITS if split in splits})
    if data.corrections:
        changed = {split: count for split, count in data.corrections.changed.items() if split in data.splits}
        data.corrections = replace(data.corrections, changed=changed)
        data.notes.append(data.corrections.note)
    return data


def _read(args: DataArguments) -> TextData:
    # A function of its own: the pages of the source's files count as this process's memory until it returns.
    source = read_source(args)
    if "train" not in source.splits:
        raise UserError(f"{source.name} has no train split: it has {', '.join(source.splits) or 'no data files'}.")
    test = source.splits.get("test")
    sample = None
    if source.sample_submission is not None and test is not None:
        sample = read_sample(source.sample_submission, source.text_format)
    columns, notes = _columns_of(source, args, sample)
    notes = [*source.notes, *notes]
    for split, rows in source.splits.items():
        _check_columns(rows, split, columns, source.name)
    if sample is not None and test is not None:
        check_ids(sample, test, columns.id, {*columns.text, *columns.label, columns.text_pair or ""})
    raw = source.splits
    if args.decimal == ",":
        raw = {
            split: with_decimal_points(rows, [*columns.label, *_others(rows, columns)]) for split, rows in raw.items()
        }
    train = Where(raw["train"], "train", source.name, _id_in(raw["train"], columns))
    task = find_task(train, columns.label, args.task, args.label_delimiter, args.labels)
    splits = {
        split: _canonical(
            Where(rows, split, source.name, _id_in(rows, columns)),
            columns,
            task,
            labelled=not (split == "test" and args.no_test_labels),
        )
        for split, rows in raw.items()
    }
    if args.task is None:
        notes.insert(0, f"The task was guessed from the labels: {task.name}; --task names another.")
    notes += _notes_on_ids(train, raw, columns) + _notes_on_labels(splits)
    names = dict.fromkeys(name for rows in source.splits.values() for name in rows.column_names)
    if dropped := [name for name in names if name in RESERVED - columns.used]:
        notes.append(f"Left out, since a run has columns of that name itself: {', '.join(dropped)}.")
    checked, corrections = DatasetDict(splits), None
    if args.corrections:
        checked, corrections = correct(checked, task, args.corrections, source.text_format, args.decimal)
    return TextData(checked, task, columns, source.name, sample, notes, source.text_format, corrections)


def _columns_of(source: Source, args: DataArguments, sample: Sample | None) -> tuple[Columns, list[str]]:
    """Return which column plays which part, and notes on what was not asked for."""
    names = {split: rows.column_names for split, rows in source.splits.items()}
    id_column, label_column, notes = args.id_column, args.label_column, []
    everywhere = dict.fromkeys(name for split_names in names.values() for name in split_names)
    if id_column is not None and id_column not in everywhere:
        raise UserError(f"--id_column {id_column}: {source.name} has no such column; it has {listed([*everywhere])}.")
    if sample is not None:
        id_column = id_column or sample.id_column(names["test"])
        label_column = label_column or sample.label_columns(names["train"], names["test"])
        if label_column != args.label_column:
            notes.append(f"The labels are what {sample.path.name} asks for: {some(label_column or [])}.")
    columns = find_columns(
        names["train"],
        source.name,
        text=args.text_column,
        text_pair=args.text_pair_column,
        label=label_column,
        id=id_column,
        tells_rows_apart=lambda name: all(_has_no_repeats(rows, name) for rows in source.splits.values()),
    )
    if None in (args.text_column, args.label_column) and not is_embedded(source.name):
        notes.append(
            "The columns were guessed by their names; --text_column, --text_pair_column, --label_column and "
            "--id_column choose others."
        )
    return columns, notes


def _has_no_repeats(rows: Dataset, name: str) -> bool:
    if name not in rows.column_names:
        return False
    try:
        return len(pc.unique(rows.data.column(name))) == len(rows)
    except pa.ArrowNotImplementedError:  # of lists and the like
        return False


def _id_in(rows: Dataset, columns: Columns) -> str | None:
    return columns.id if columns.id in rows.column_names else None


def _check_columns(rows: Dataset, split: str, columns: Columns, source: str) -> None:
    needed = [*columns.text, columns.text_pair]
    needed += [columns.id] if split == "test" else columns.label
    missing = [name for name in needed if name is not None and name not in rows.column_names]
    if missing:
        raise UserError(f"{source}: the {split} split has no column {missing[0]}; it has {listed(rows.column_names)}.")
    if len(rows) == 0:
        raise UserError(f"{source}: the {split} split has no rows.")


def _notes_on_ids(train: Where, splits: dict[str, Dataset], columns: Columns) -> list[str]:
    if columns.id is None:
        return ["No id column: the rows' numbers, from 0, are their ids."]
    notes = [
        f"There is no column '{columns.id}' in {split}: its rows' numbers, from 0, are their ids."
        for split, rows in splits.items()
        if columns.id not in rows.column_names
    ]
    if train.id_column and (twice := _repeated_ids(train, train.id_column)):
        notes.append(
            f"The id column '{columns.id}' of train holds {len(twice):,} ids more than once: rows are told apart by "
            "their order, and those of one id share it in validation_predictions.csv."
        )
    return notes


def _notes_on_labels(splits: dict[str, Dataset]) -> list[str]:
    """Return a note where all labels of test are the same, as placeholders are."""
    if "test" not in splits or LABELS not in splits["test"].column_names or len(splits["test"]) == 1:
        return []
    labels = column(splits["test"], LABELS)
    if (labels != labels[0]).any():
        return []
    return [f"All {len(labels):,} rows of test have the same label: {NO_TEST_LABELS}."]


def _canonical(where: Where, columns: Columns, task: Task, *, labelled: bool) -> Dataset:
    """Return a split with the columns that a run has, checked.

    Args:
        where: its rows as they were read.
        columns: which plays which part.
        task: of the data.
        labelled: whether labels are looked for in it.
    """
    rows, id_column = where.rows, where.id_column
    if id_column and where.split != "train":
        _refuse_repeated_ids(where, id_column)
    texts = {TEXT: columns.text} | ({TEXT_PAIR: [columns.text_pair]} if columns.text_pair else {})
    for names in texts.values():
        _check_texts(where, names)
    features: dict[str, Any] = {ID: Value("string"), **dict.fromkeys(texts, Value("string"))}
    encode = label_encoder(task, where) if labelled else None
    if encode is not None:
        features[LABELS] = List(Value("float64")) if task.problem_type in (MULTI_LABEL, REGRESSION) else Value("int64")
    others = _others(rows, columns)

    def canonical(batch: Batch, numbers: list[int]) -> Batch:
        out = {ID: [id_text(cell) for cell in (batch[id_column] if id_column else numbers)]}
        for part, names in texts.items():
            out[part] = [joined(cells) for cells in zip(*(batch[name] for name in names), strict=True)]
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


def _others(rows: Dataset, columns: Columns) -> list[str]:
    """Return the columns that play no part, and that a classifier of the user's own may take."""
    return [name for name in rows.column_names if name not in columns.used | RESERVED]


def _refuse_repeated_ids(where: Where, id_column: str) -> None:
    if twice := _repeated_ids(where, id_column):
        raise UserError(
            f"{where.source}: the id column '{id_column}' of {where.split} holds {len(twice)} ids more than once, "
            f"{some(twice)}: make them unique, or name another with --id_column."
        )


def _repeated_ids(where: Where, id_column: str) -> list[Any]:
    cells = where.rows.data.column(id_column)
    try:
        counts = pc.value_counts(cells.combine_chunks())
    except pa.ArrowNotImplementedError as error:
        raise UserError(
            f"{where.source}: the id column '{id_column}' of {where.split} holds {cells.type}: give a text or a "
            "number, or name another with --id_column."
        ) from error
    return counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()


def _check_texts(where: Where, names: list[str]) -> None:
    """Check the columns of a text: of text, and in no labelled row all empty."""
    columns = [where.rows.data.column(name) for name in names]
    for name, cells in zip(names, columns, strict=True):
        kind = cells.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise UserError(f"{where.source}: the text column '{name}' of {where.split} holds {kind}, not text.")
    # A text that is empty in test must still be predicted: a submission needs every row.
    if where.split != "test":
        masks = [np.concatenate([_is_empty(chunk) for chunk in cells.chunks]) for cells in columns]
        empty = np.flatnonzero(np.logical_and.reduce(masks))
        if len(empty):
            quoted = "', '".join(names)
            what = f"column '{quoted}' is" if len(names) == 1 else f"columns '{quoted}' are all"
            raise UserError(
                f"{where.source}: the text {what} empty in {where.which(empty)} of {where.split}: fill in or remove."
            )


def _is_empty(texts: pa.Array) -> np.ndarray:
    if pa.types.is_null(texts.type):
        return np.ones(len(texts), dtype=bool)
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(texts), ""), True).to_numpy(zero_copy_only=False)
