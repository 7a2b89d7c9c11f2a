"""From files, a Hub id or an embedded data set to splits with `id`, `text`, (`text_pair`,) `labels`, and to tokens.

Everything a later step relies on is checked here, so that a wrong file ends in one sentence before anything is
trained or written. Rows keep their ids from the file to the predictions.
"""

import codecs
import csv
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, Features, Value, load_dataset
from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError
from datasets.utils.logging import disable_progress_bar
from sklearn.model_selection import train_test_split

from bert_recipes import embedded
from bert_recipes.arguments import DataArguments
from bert_recipes.errors import UserError
from bert_recipes.sources import require_hub

SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".parquet": "parquet"}
SAMPLE_SUBMISSION = "sample_submission.csv"

TEXT_NAMES = ("text", "sentence", "review", "tweet", "comment", "content", "message", "document")
PAIR_NAMES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"))
LABEL_NAMES = ("label", "labels", "target", "class", "category")
ID_NAMES = ("id", "idx", "guid", "uid")

# Names under which the columns travel from here on.
ID, TEXT, TEXT_PAIR, LABELS, ROW = "id", "text", "text_pair", "labels", "row"


@dataclass
class Columns:
    """Which column of the data plays which part, and how it was found."""

    text: str
    text_pair: str | None
    label: str | None
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
    raw, source, sample_submission = _read(args)
    if "train" not in raw:
        raise UserError(f"{source} has no train split: it has {', '.join(raw) or 'no data files'}.")
    columns = _find_columns(raw["train"].column_names, args, source)
    for split, rows in raw.items():
        _check_columns(rows, split, columns, source)
    label_names = _label_names(raw, columns, args, source)
    splits = {
        split: _canonical(rows, split, columns, label_names, source) for split, rows in raw.items() if rows is not None
    }
    notes = []
    if "validation" not in splits:
        splits["train"], splits["validation"] = split_off_validation(
            splits["train"], args.validation_size, args.split_seed
        )
        notes.append(
            f"no validation split: {len(splits['validation']):,} rows cut from train (stratified, seed "
            f"{args.split_seed}, copies of one text on one side)"
        )
    ordered = DatasetDict({split: splits[split] for split in SPLITS if split in splits})
    return TextData(ordered, label_names, columns, source, sample_submission, notes)


def _read(args: DataArguments) -> tuple[dict[str, Dataset], str, Path | None]:
    name = args.dataset
    if embedded.is_embedded(name):
        frames = embedded.read_dataset(name)
        return {split: Dataset.from_pandas(f, preserve_index=False) for split, f in frames.items()}, name, None
    path = Path(name).expanduser()
    if path.is_dir():
        files = _files_of(path)
        sample = path / SAMPLE_SUBMISSION
        return (
            {split: _read_file(f, args.encoding) for split, f in files.items()},
            str(path),
            (sample if sample.is_file() else None),
        )
    if path.is_file():
        return {"train": _read_file(path, args.encoding)}, str(path), None
    return _read_from_hub(name), name, None


def _files_of(folder: Path) -> dict[str, Path]:
    files = {}
    for split, stems in SPLITS.items():
        found = [folder / f"{s}{e}" for s in stems for e in READERS if (folder / f"{s}{e}").is_file()]
        if len(found) > 1:
            raise UserError(f"{folder} has more than one file for the {split} split: keep one of {_names(found)}.")
        if found:
            files[split] = found[0]
    if not files:
        raise UserError(
            f"{folder} holds no data: expected train.csv, validation.csv, test.csv (or .tsv, .jsonl, .parquet)."
        )
    return files


def _read_file(path: Path, encoding: str) -> Dataset:
    if path.suffix not in READERS:
        raise UserError(f"{path} is of no known kind: give a file that ends in {', '.join(READERS)}.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} cannot be read: check its permissions.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty.")
    options = {}
    if path.suffix != ".parquet":
        _check_encoding(path, encoding)
    if READERS[path.suffix] == "csv":
        encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        separator = "\t" if path.suffix == ".tsv" else ","
        with path.open(encoding=encoding, newline="") as file:
            cells = csv.reader(file, delimiter=separator)
            header = next(cells, [])
            if next(cells, None) is None:
                raise UserError(f"{path} has a header and no rows.")
        # Everything stays a string: pandas would read the text "NA" as missing and the id "007" as 7.
        options = {
            "sep": separator,
            "features": Features({name: Value("string") for name in header}),
            "keep_default_na": False,
            "encoding": encoding,
        }
    elif READERS[path.suffix] == "json":
        options = {"encoding": encoding}
    try:
        rows = load_dataset(READERS[path.suffix], data_files=str(path), split="train", **options)
    except (DatasetGenerationError, DataFilesNotFoundError, ValueError) as error:
        cause = error.__cause__ or error
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {str(cause).strip().splitlines()[0]}") from error
    return rows


def _check_encoding(path: Path, encoding: str) -> None:
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError as error:
        raise UserError(f"there is no encoding '{encoding}': try --encoding latin-1 or cp1252.") from error
    offset = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path} is not {encoding}: byte {offset - pending + error.start} cannot be decoded; "
                    "name its encoding, as in --encoding latin-1."
                ) from error
            nul = -1 if "16" in encoding or "32" in encoding else chunk.find(b"\0")
            if nul >= 0:
                raise UserError(f"{path} has a NUL byte at byte {offset + nul}: it is damaged or no text file.")
            offset += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {encoding}: it ends within a character, at byte {offset}.") from error


def _read_from_hub(name: str) -> dict[str, Dataset]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository, _, revision = name.partition("@")
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise UserError(
            f"--dataset {name}: no such file or folder, and no Hub id (owner/name) either; without a hub there are "
            f"{', '.join(embedded.PREFIX + key for key in embedded.DATASETS)}."
        )
    require_hub(f"--dataset {name}", [embedded.PREFIX + key for key in embedded.DATASETS])
    try:
        splits = load_dataset(repository, revision=revision or None)
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        raise UserError(f"--dataset {name} cannot be loaded from the Hub: {str(error).splitlines()[0]}") from error
    return {split: splits[split] for split in SPLITS if split in splits}


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


def _as_text(value) -> str:
    """One spelling for one label, however the file wrote it: 1, "1" and 1.0 are "1"."""
    if value is None:
        return ""
    if isinstance(value, float) and np.isnan(value):
        return ""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and "e" not in text.lower() else text


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _label_names(raw: dict[str, Dataset], columns: Columns, args: DataArguments, source: str) -> list[str]:
    feature = raw["train"].features[columns.label]
    cells = [_as_text(v) for v in raw["train"].unique(columns.label)]
    if hasattr(feature, "names"):
        return args.labels or list(feature.names)
    if "" in cells:
        rows = [i for i, v in enumerate(raw["train"][columns.label]) if _as_text(v) == ""]
        raise UserError(
            f"{source}: the label column '{columns.label}' is empty in {len(rows)} rows of train, "
            f"{_some(rows)} (counted from 0): fill them in or remove those rows."
        )
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
    ids = [str(v) for v in rows[columns.id]] if columns.id else [str(i) for i in range(len(rows))]
    if len(set(ids)) < len(ids):
        seen, twice = set(), []
        for name in ids:
            if name in seen:
                twice.append(name)
            seen.add(name)
        raise UserError(
            f"{source}: the id column '{columns.id}' of {split} holds {len(twice)} ids more than once, {_some(twice)}."
        )
    table = {ID: ids}
    for part, column in ((TEXT, columns.text), (TEXT_PAIR, columns.text_pair)):
        if column is None:
            continue
        texts = ["" if v is None else str(v) for v in rows[column]]
        empty = [ids[i] for i, text in enumerate(texts) if not text.strip()]
        if empty and split != "test":
            raise UserError(
                f"{source}: the text column '{column}' is empty in {len(empty)} rows of {split}, ids "
                f"{_some(empty)}: fill them in or remove those rows."
            )
        table[part] = texts
    if columns.label in rows.column_names:
        labels = _label_ids(rows, split, columns, label_names, ids, source)
        if labels is not None:
            table[LABELS] = labels
    return Dataset.from_dict(table).cast_column(ID, Value("string"))


def _label_ids(rows, split, columns, label_names, ids, source) -> list[int] | None:
    feature = rows.features[columns.label]
    cells = rows[columns.label]
    if hasattr(feature, "names"):
        cells = [None if v is None or v < 0 else feature.int2str(v) for v in cells]
    cells = [_as_text(v) for v in cells]
    empty = [ids[i] for i, cell in enumerate(cells) if cell == ""]
    if len(empty) == len(cells) and split == "test":
        return None
    if empty:
        raise UserError(
            f"{source}: the label column '{columns.label}' is empty in {len(empty)} rows of {split}, ids "
            f"{_some(empty)}: fill them in or remove those rows."
        )
    known = {name: i for i, name in enumerate(label_names)}
    unknown = sorted(set(cells) - set(known))
    if unknown:
        raise UserError(
            f"{source}: {split} has labels that train never saw: {_some(unknown)}; train has {', '.join(label_names)}."
        )
    return [known[cell] for cell in cells]


def split_off_validation(train: Dataset, size: float, seed: int) -> tuple[Dataset, Dataset]:
    """Cut a validation split of about `size` of the rows from `train`; both keep the file's order.

    Distinct texts are drawn, stratified by label, so copies of one text always land on one side. A label with
    a single distinct text stays in train.
    """
    keys = list(zip(train[TEXT], train[TEXT_PAIR], strict=True)) if TEXT_PAIR in train.column_names else train[TEXT]
    labels = train[LABELS]
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
    """Add `input_ids`, the masks the tokenizer makes, `length` and `truncated` to every row.

    Nothing is padded here: the collator pads each batch to its own longest row.
    """

    def encode(batch, rows_of_batch):
        texts = (batch[TEXT], batch[TEXT_PAIR]) if TEXT_PAIR in batch else (batch[TEXT],)
        tokens = tokenizer(*texts, truncation=True, max_length=max_length)
        return {
            **tokens,
            ROW: rows_of_batch,
            "length": [len(ids) for ids in tokens["input_ids"]],
            "truncated": [bool(encoding.overflowing) for encoding in tokens.encodings],
        }

    return DatasetDict({split: rows.map(encode, batched=True, with_indices=True) for split, rows in splits.items()})


def _some(values: list, most: int = 5) -> str:
    shown = ", ".join(str(v) for v in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most:,} more"


def _names(paths: list[Path]) -> str:
    return ", ".join(p.name for p in paths)
