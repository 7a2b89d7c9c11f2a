"""From raw rows to checked splits with `id`, `text`, (`text_pair`,) `labels`, and from those to tokens.

Everything a later step relies on is checked here, so that a wrong file ends in one sentence before anything is
trained or written. Rows keep their ids from the file to the predictions.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from datasets import Dataset, DatasetDict, Features, Value
from datasets.utils.logging import disable_progress_bar
from sklearn.model_selection import train_test_split

from bert_recipes.arguments import DataArguments
from bert_recipes.embedded import is_embedded
from bert_recipes.errors import UserError
from bert_recipes.sources import SPLITS, read_rows

TEXT_NAMES = ("text", "sentence", "review", "tweet", "comment", "content", "message", "document")
PAIR_NAMES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"))
LABEL_NAMES = ("label", "labels", "target", "class", "category")
ID_NAMES = ("id", "idx", "guid", "uid")

# Names under which the columns travel from here on.
ID, TEXT, TEXT_PAIR, LABELS, ROW = "id", "text", "text_pair", "labels", "row"


@dataclass
class Columns:
    """Which column of the data plays which part."""

    text: str
    text_pair: str | None
    label: str
    id: str | None


@dataclass
class TextData:
    """The data of a run: checked splits, the names of the labels, and where it came from."""

    splits: DatasetDict
    label_names: list[str]
    columns: Columns
    source: str
    sample_submission: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def id2label(self) -> dict[int, str]:
        """Class ids to label names."""
        return dict(enumerate(self.label_names))

    @property
    def label2id(self) -> dict[str, int]:
        """Label names to class ids."""
        return {name: i for i, name in enumerate(self.label_names)}


def load_data(args: DataArguments) -> TextData:
    """Read, check and split the data that `args` names.

    Returns:
        `TextData` with a `train` and a `validation` split and, where the source has one, a `test` split. The
        validation split is cut from `train` when the source has none: stratified by label, seeded by
        `args.split_seed`, with all copies of one text on one side.

    Raises:
        UserError: anything about the source, the columns, the texts or the labels that would spoil the run.
    """
    disable_progress_bar()
    # The main process fills the cache on disk, the others read it.
    with PartialState().main_process_first():
        return _load(args)


def _load(args: DataArguments) -> TextData:
    source = read_rows(args.dataset, args.encoding)
    if "train" not in source.splits:
        raise UserError(f"{source.name} has no train split: it has {', '.join(source.splits) or 'no data files'}.")
    columns = _find_columns(source.splits["train"].column_names, args, source.name)
    for split, rows in source.splits.items():
        _check_columns(rows, split, columns, source.name)
    label_names = _label_names(source.splits["train"], columns, args, source.name)
    splits = {
        split: _canonical(rows, split, columns, label_names, source.name) for split, rows in source.splits.items()
    }
    notes = []
    if None in (args.text_column, args.label_column) and not is_embedded(source.name):
        notes.append(
            "The columns were guessed by their names; --text_column, --text_pair_column, --label_column and "
            "--id_column choose others."
        )
    if columns.id is None:
        notes.append("No id column: the rows' numbers, from 0, are their ids.")
    if "validation" not in splits:
        splits["train"], splits["validation"] = split_off_validation(
            splits["train"], args.validation_size, args.split_seed
        )
        notes.append(
            f"No validation split there: {len(splits['validation']):,} rows cut from train (stratified, seed "
            f"{args.split_seed}, copies of one text on one side)."
        )
    ordered = DatasetDict({split: splits[split] for split in SPLITS if split in splits})
    return TextData(ordered, label_names, columns, source.name, source.sample_submission, notes)


def _find_columns(names: list[str], args: DataArguments, source: str) -> Columns:
    for flag in ("text_column", "text_pair_column", "label_column", "id_column"):
        column = getattr(args, flag)
        if column is not None and column not in names:
            raise UserError(f"--{flag} {column}: {source} has no such column; it has {', '.join(names)}.")
    text, pair = args.text_column, args.text_pair_column
    if text is None:
        pairs = [p for p in PAIR_NAMES if set(p) <= set(names)]
        if len(pairs) == 1 and pair is None and not set(TEXT_NAMES) & set(names):
            text, pair = pairs[0]
        elif len(pairs) > 1 and not set(TEXT_NAMES) & set(names):
            found = "; ".join(" and ".join(p) for p in pairs)
            raise UserError(
                f"{source}: the texts could be any of the pairs {found}; name them with --text_column and "
                f"--text_pair_column. The columns are {', '.join(names)}."
            )
        else:
            text = _guess(names, TEXT_NAMES, "text", source)
    label = args.label_column or _guess(names, LABEL_NAMES, "label", source)
    identifier = args.id_column or _guess(names, ID_NAMES, "id", source, optional=True)
    chosen = [c for c in (text, pair, label, identifier) if c is not None]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"one column cannot play two parts: text, pair, label and id are {', '.join(chosen)}.")
    return Columns(text, pair, label, identifier)


def _guess(names: list[str], usual: tuple[str, ...], part: str, source: str, optional: bool = False) -> str | None:
    found = [name for name in names if name.lower() in usual]
    if len(found) == 1:
        return found[0]
    if not found and optional:
        return None
    problem = f"could be any of {', '.join(found)}" if found else f"has none of the usual names ({', '.join(usual)})"
    raise UserError(
        f"{source}: the {part} column {problem}; name it with --{part}_column. The columns are {', '.join(names)}."
    )


def _check_columns(rows: Dataset, split: str, columns: Columns, source: str) -> None:
    needed = [columns.text, columns.text_pair, columns.id]
    if split != "test":
        needed.append(columns.label)
    missing = [name for name in needed if name is not None and name not in rows.column_names]
    if missing:
        raise UserError(
            f"{source}: the {split} split has no column {missing[0]}; it has {', '.join(rows.column_names)}."
        )
    if len(rows) == 0:
        raise UserError(f"{source}: the {split} split has no rows.")


def _label_names(train: Dataset, columns: Columns, args: DataArguments, source: str) -> list[str]:
    feature = train.features[columns.label]
    if hasattr(feature, "names"):
        found = list(feature.names)
    else:
        cells = [_as_text(cell) for cell in train.unique(columns.label)]
        _refuse_empty_labels(train, "train", columns, source)
        if all(_is_number(c) for c in cells) and not all(_is_integer(c) for c in cells):
            example = next(c for c in cells if not _is_integer(c))
            raise UserError(
                f"{source}: the label column '{columns.label}' holds real numbers such as {example}: that is a "
                "regression, and these recipes classify; give classes."
            )
        found = sorted(set(cells), key=int) if all(_is_integer(c) for c in cells) else sorted(set(cells))
    if len(found) < 2:
        raise UserError(
            f"{source}: the label column '{columns.label}' holds one class only, '{found[0]}': "
            "there is nothing to tell apart."
        )
    if args.labels is None:
        return found
    names = [str(name) for name in args.labels]
    if sorted(names) != sorted(found):
        raise UserError(f"--labels names {', '.join(names)}, and train holds {', '.join(found)}: name each once.")
    return names


def _canonical(rows: Dataset, split: str, columns: Columns, label_names: list[str], source: str) -> Dataset:
    if columns.id:
        _refuse_repeated_ids(rows, split, columns, source)
    texts = {TEXT: columns.text} | ({TEXT_PAIR: columns.text_pair} if columns.text_pair else {})
    for column in texts.values():
        _check_texts(rows, split, column, columns, source)
    features = {ID: Value("string"), **dict.fromkeys(texts, Value("string"))}
    class_of = _class_of_cell(rows, split, columns, label_names, source)
    if class_of is not None:
        features[LABELS] = Value("int64")

    def canonical(batch, numbers):
        out = {ID: [str(cell) for cell in (batch[columns.id] if columns.id else numbers)]}
        for part, column in texts.items():
            out[part] = ["" if cell is None else cell for cell in batch[column]]
        if class_of is not None:
            out[LABELS] = [class_of[cell] for cell in batch[columns.label]]
        return out

    return rows.map(
        canonical, batched=True, with_indices=True, remove_columns=rows.column_names, features=Features(features)
    )


def _refuse_repeated_ids(rows: Dataset, split: str, columns: Columns, source: str) -> None:
    counts = pc.value_counts(rows.data.column(columns.id).combine_chunks())
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        raise UserError(
            f"{source}: the id column '{columns.id}' of {split} holds {len(twice)} ids more than once, {some(twice)}: "
            "make them unique, or name another with --id_column."
        )


def _check_texts(rows: Dataset, split: str, column: str, columns: Columns, source: str) -> None:
    cells = rows.data.column(column)
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type) or pa.types.is_null(cells.type)):
        raise UserError(f"{source}: the text column '{column}' of {split} holds {cells.type}, not text.")
    # A text that is empty in test must still be predicted: a submission needs every row.
    if split != "test":
        empty = np.flatnonzero([not str(cell or "").strip() for cell in cells.to_pylist()])
        if len(empty):
            raise UserError(
                f"{source}: the text column '{column}' is empty in {_which(rows, empty, columns)} of {split}: "
                "fill in or remove."
            )


def _class_of_cell(rows, split, columns, label_names, source) -> dict | None:
    """Return the class id of every distinct label cell, or None for a split without labels."""
    if columns.label not in rows.column_names:
        return None
    feature = rows.features[columns.label]
    cells = rows.unique(columns.label)
    names = [feature.int2str(c) if hasattr(feature, "names") and c is not None and c >= 0 else c for c in cells]
    texts = ["" if hasattr(feature, "names") and name == -1 else _as_text(name) for name in names]
    if split == "test" and set(texts) == {""}:
        return None
    if not hasattr(feature, "names"):
        _refuse_empty_labels(rows, split, columns, source)
    unknown = sorted(set(texts) - set(label_names))
    if unknown:
        raise UserError(
            f"{source}: {split} has labels that train never saw: {some(unknown)}; train has {', '.join(label_names)}."
        )
    return {cell: label_names.index(text) for cell, text in zip(cells, texts, strict=True)}


def _refuse_empty_labels(rows: Dataset, split: str, columns: Columns, source: str) -> None:
    if any(_as_text(cell) == "" for cell in rows.unique(columns.label)):
        empty = np.flatnonzero([_as_text(cell) == "" for cell in rows[columns.label]])
        raise UserError(
            f"{source}: the label column '{columns.label}' is empty in {_which(rows, empty, columns)} of {split}: "
            "fill in or remove."
        )


def _which(rows: Dataset, numbers: np.ndarray, columns: Columns) -> str:
    if columns.id is None:
        found = f"number {some(numbers.tolist())}, counted from 0"
    else:
        found = f"id {some(rows.select(numbers)[columns.id][:])}"
    return f"{len(numbers)} row{'s' if len(numbers) > 1 else ''} ({found})"


def _as_text(cell) -> str:
    """One spelling for one label, however the file wrote it: 1, "1" and 1.0 are "1"."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    text = str(cell).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and "e" not in text.lower() else text


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def split_off_validation(train: Dataset, size: float, seed: int) -> tuple[Dataset, Dataset]:
    """Cut a validation split of about `size` of the rows from `train`; both keep the file's order.

    Distinct texts are drawn, stratified by label, so copies of one text always land on one side. A label with
    a single distinct text stays in train.

    Raises:
        UserError: there are too few distinct texts to cut from.
    """
    keys = list(zip(train[TEXT], train[TEXT_PAIR], strict=True)) if TEXT_PAIR in train.column_names else train[TEXT][:]
    labels = train[LABELS][:]
    label_of: dict = {}
    for key, label in zip(keys, labels, strict=True):
        label_of.setdefault(key, label)
    counts = np.bincount(list(label_of.values()))
    drawable = [key for key, label in label_of.items() if counts[label] > 1]
    try:
        _, drawn = train_test_split(
            np.arange(len(drawable)), test_size=size, random_state=seed, stratify=[label_of[k] for k in drawable]
        )
    except ValueError as error:
        raise UserError(
            f"train has too few distinct texts ({len(label_of)}) to cut a validation split from: "
            f"give a validation file or another --validation_size ({error})."
        ) from error
    chosen = {drawable[i] for i in drawn}
    inside = np.array([key in chosen for key in keys])
    return train.select(np.flatnonzero(~inside)), train.select(np.flatnonzero(inside))


def tokenize(splits: DatasetDict, tokenizer, max_length: int) -> DatasetDict:
    """Add `input_ids`, the masks the tokenizer makes, `row`, `length` and `truncated` to every row.

    Nothing is padded here: the collator pads each batch to its own longest row.

    Raises:
        UserError: `max_length` is more than the model takes.
    """
    if max_length > tokenizer.model_max_length:
        raise UserError(
            f"--max_length {max_length} is more than the {tokenizer.model_max_length} that the model takes."
        )
    # The first call leaves its truncation in the tokenizer's state, which is part of the fingerprint of the cache.
    tokenizer("", truncation=True, max_length=max_length)

    def encode(batch, numbers):
        texts = (batch[TEXT], batch[TEXT_PAIR]) if TEXT_PAIR in batch else (batch[TEXT],)
        tokens = tokenizer(*texts, truncation=True, max_length=max_length)
        return {
            **tokens,
            ROW: numbers,
            "length": [len(ids) for ids in tokens["input_ids"]],
            "truncated": [bool(encoding.overflowing) for encoding in tokens.encodings],
        }

    with PartialState().main_process_first():
        return DatasetDict(
            {split: rows.map(encode, batched=True, with_indices=True) for split, rows in splits.items()}
        )


def some(values: list, most: int = 5) -> str:
    """Return the first few of `values` for a sentence, and how many more there are."""
    shown = ", ".join(str(v) for v in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most:,} more"
