"""From raw rows to checked splits with `id`, `text`, (`text_pair`,) `labels`, and from those to tokens.

Everything a later step relies on is checked here, so that a wrong file ends in one sentence before anything is
trained or written. Rows keep their ids from the file to the predictions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from datasets import Dataset, DatasetDict, Features, List, Value
from datasets.utils.logging import disable_progress_bar
from sklearn.model_selection import train_test_split
from transformers import AutoConfig

from bert_recipes.arguments import DataArguments
from bert_recipes.embedded import is_embedded
from bert_recipes.errors import UserError
from bert_recipes.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Labels, Where, find_labels, some
from bert_recipes.predictions import FOLD
from bert_recipes.sources import SPLITS, positions_of, read_rows, takes_token_types

TEXT_NAMES = ("text", "sentence", "review", "tweet", "comment", "content", "message", "document")
PAIR_NAMES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"))
LABEL_NAMES = ("label", "labels", "target", "class", "category")
ID_NAMES = ("id", "idx", "guid", "uid")

# Names under which the columns travel from here on, and those that tokenizing adds.
ID, TEXT, TEXT_PAIR, LABELS, ROW = "id", "text", "text_pair", "labels", "row"
TAKEN = {
    ID,
    TEXT,
    TEXT_PAIR,
    LABELS,
    ROW,
    FOLD,
    "length",
    "truncated",
    "input_ids",
    "attention_mask",
    "token_type_ids",
}


@dataclass
class Columns:
    """Which column of the data plays which part."""

    text: str
    text_pair: str | None
    label: list[str]
    id: str | None

    @property
    def used(self) -> set[str]:
        """The names of all of them."""
        return {name for name in (self.text, self.text_pair, *self.label, self.id) if name is not None}


@dataclass
class TextData:
    """The data of a run: checked splits, what the labels are, and where it came from."""

    splits: DatasetDict
    labels: Labels
    columns: Columns
    source: str
    sample_submission: Path | None = None
    notes: list[str] = field(default_factory=list)

    def labelled_rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield split, id, label and text, both of a pair, of every labelled row; of a regression none."""
        names = self.labels.names
        for split, rows in self.splits.items():
            if LABELS not in rows.column_names or self.labels.problem_type == REGRESSION:
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
            splits["train"], args.validation_size, args.split_seed, data.labels.problem_type
        )
        notes.append(
            f"No validation split there: {len(splits['validation']):,} rows cut from train (stratified, seed "
            f"{args.split_seed}, copies of one text on one side)."
        )
    data.splits = DatasetDict({split: splits[split] for split in SPLITS if split in splits})
    return data


def _read(args: DataArguments) -> TextData:
    # A function of its own: the pages of the source's files count as this process's memory until it returns.
    source = read_rows(args.dataset, args.encoding)
    if "train" not in source.splits:
        raise UserError(f"{source.name} has no train split: it has {', '.join(source.splits) or 'no data files'}.")
    columns = _find_columns(source.splits["train"].column_names, args, source.name)
    for split, rows in source.splits.items():
        _check_columns(rows, split, columns, source.name)
    train = Where(source.splits["train"], "train", source.name, columns.id)
    labels = find_labels(train, columns.label, args.task, args.label_delimiter, args.labels)
    splits = {split: _canonical(rows, split, columns, labels, source.name) for split, rows in source.splits.items()}
    notes = []
    if args.task is None:
        notes.append(f"The task was guessed from the labels: {labels.task}; --task names another.")
    if None in (args.text_column, args.label_column) and not is_embedded(source.name):
        notes.append(
            "The columns were guessed by their names; --text_column, --text_pair_column, --label_column and "
            "--id_column choose others."
        )
    if columns.id is None:
        notes.append("No id column: the rows' numbers, from 0, are their ids.")
    names = dict.fromkeys(name for rows in source.splits.values() for name in rows.column_names)
    if dropped := [name for name in names if name in TAKEN - columns.used]:
        notes.append(f"Left out, since a run has columns of that name itself: {', '.join(dropped)}.")
    return TextData(DatasetDict(splits), labels, columns, source.name, source.sample_submission, notes)


def _find_columns(names: list[str], args: DataArguments, source: str) -> Columns:
    for flag in ("text_column", "text_pair_column", "label_column", "id_column"):
        value = getattr(args, flag)
        for column in value if isinstance(value, list) else [value]:
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
    label = args.label_column or [_guess(names, LABEL_NAMES, "label", source)]
    identifier = args.id_column or _guess(names, ID_NAMES, "id", source, optional=True)
    chosen = [c for c in (text, pair, *label, identifier) if c is not None]
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
        needed += columns.label
    missing = [name for name in needed if name is not None and name not in rows.column_names]
    if missing:
        raise UserError(
            f"{source}: the {split} split has no column {missing[0]}; it has {', '.join(rows.column_names)}."
        )
    if len(rows) == 0:
        raise UserError(f"{source}: the {split} split has no rows.")


def _canonical(rows: Dataset, split: str, columns: Columns, labels: Labels, source: str) -> Dataset:
    where = Where(rows, split, source, columns.id)
    if columns.id:
        _refuse_repeated_ids(rows, split, columns, source)
    texts = {TEXT: columns.text} | ({TEXT_PAIR: columns.text_pair} if columns.text_pair else {})
    for column in texts.values():
        _check_texts(where, column)
    features = {ID: Value("string"), **dict.fromkeys(texts, Value("string"))}
    encode = labels.encoder(where)
    if encode is not None:
        features[LABELS] = (
            List(Value("float64")) if labels.problem_type in (MULTI_LABEL, REGRESSION) else Value("int64")
        )
    others = [name for name in rows.column_names if name not in columns.used | TAKEN]

    def canonical(batch, numbers):
        out = {ID: [str(cell) for cell in (batch[columns.id] if columns.id else numbers)]}
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
    counts = pc.value_counts(rows.data.column(columns.id).combine_chunks())
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


def column(rows: Dataset, name: str) -> np.ndarray:
    """Return a column of numbers, `[rows]` or `[rows, num_labels]`, without a Python object for each."""
    return rows.with_format("numpy")[name][:]


def strata_of(labels: np.ndarray, problem_type: str) -> np.ndarray:
    """Return the stratum of each row, `[rows]`, so that parts cut by strata are alike in their labels.

    A class is a stratum. A row of several labels is in the stratum of its rarest one; a regression's strata are the
    deciles of its first target.
    """
    values = np.asarray(labels)
    if problem_type == MULTI_LABEL:
        rarest_first = np.argsort(values.sum(axis=0), kind="stable")
        ranked = values[:, rarest_first] > 0
        return np.where(ranked.any(axis=1), ranked.argmax(axis=1), values.shape[1])
    if problem_type == REGRESSION:
        edges = np.unique(np.quantile(values[:, 0], np.linspace(0.1, 0.9, 9)))
        return np.digitize(values[:, 0], edges)
    return values


def distinct_texts(rows: Dataset, at_once: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct texts, or pairs of texts, in the order in which they appear.

    Texts are told apart by a 64-bit hash, so that none is held: among a million the chance that two share one is
    3e-8, and those two would merely be taken for copies.

    Returns:
        The number of each row's text, `[rows]`, and the first row of each text, `[texts]`.
    """
    names = [name for name in (TEXT, TEXT_PAIR) if name in rows.column_names]
    frames = rows.select_columns(names).with_format("pandas")
    hashes = np.concatenate(
        [
            pd.util.hash_pandas_object(frames[start : start + at_once], index=False, categorize=False).to_numpy()
            for start in range(0, len(rows), at_once)
        ]
    )
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    appearance = np.argsort(first)
    number = np.empty_like(appearance)
    number[appearance] = np.arange(len(first))
    return number[inverse], first[appearance]


def split_off_validation(train: Dataset, size: float, seed: int, problem_type: str) -> tuple[Dataset, Dataset]:
    """Cut a validation split of about `size` of the rows from `train`; both keep the file's order.

    Distinct texts are drawn, stratified as `strata_of` says, so copies of one text always land on one side. A stratum
    with a single distinct text stays in train.

    Raises:
        UserError: there are too few distinct texts to cut from.
    """
    texts, first = distinct_texts(train)
    strata = strata_of(column(train, LABELS), problem_type)[first]
    if problem_type != SINGLE_LABEL:
        # Unlike classes, these strata only even things out: those of a single text are taken together.
        strata = np.where(np.bincount(strata)[strata] > 1, strata, strata.max() + 1)
    drawable = np.flatnonzero(np.bincount(strata)[strata] > 1)
    strata = strata[drawable]
    if problem_type != SINGLE_LABEL and size * len(drawable) < len(np.unique(strata)):
        strata = None  # too few rows to have one of each
    try:
        _, drawn = train_test_split(np.arange(len(drawable)), test_size=size, random_state=seed, stratify=strata)
    except ValueError as error:
        raise UserError(
            f"train has too few distinct texts ({len(first)}) to cut a validation split from: "
            f"give a validation file or another --validation_size ({error})."
        ) from error
    inside = np.isin(texts, drawable[drawn])
    return train.select(np.flatnonzero(~inside)), train.select(np.flatnonzero(inside))


def tokenize(splits: DatasetDict, tokenizer, max_length: int, source: str) -> DatasetDict:
    """Add `input_ids`, the masks the tokenizer makes, `row`, `length` and `truncated` to every row.

    Nothing is padded here: the collator pads each batch to its own longest row.

    Args:
        splits: as `load_data` returns them.
        tokenizer: of the model.
        max_length: tokens a text is cut to, special tokens included.
        source: the model's folder.

    Raises:
        UserError: `max_length` is more than the model takes.
    """
    most = min(tokenizer.model_max_length, positions_of(source))
    if max_length > most:
        raise UserError(f"--max_length {max_length} is more than the {most} that the model takes.")
    # A padded first token would not be [CLS], and positions would shift with the padding.
    tokenizer.padding_side = "right"
    types = takes_token_types(AutoConfig.from_pretrained(source))
    # The first call leaves its truncation in the tokenizer's state, which is part of the fingerprint of the cache.
    tokenizer("", truncation=True, max_length=max_length)

    def encode(batch, numbers):
        texts = (batch[TEXT], batch[TEXT_PAIR]) if TEXT_PAIR in batch else (batch[TEXT],)
        tokens = tokenizer(*texts, truncation=True, max_length=max_length)
        if not types:
            tokens.pop("token_type_ids", None)
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
