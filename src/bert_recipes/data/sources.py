"""Where rows come from: files, the package index, the Hub or Python, as raw splits."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import (
    ArrowBasedBuilder,
    BuilderConfig,
    Dataset,
    DatasetInfo,
    Features,
    SplitGenerator,
    Value,
)
from datasets.exceptions import DatasetGenerationError

from bert_recipes.data import embedded
from bert_recipes.data.hub_datasets import read_hub_dataset
from bert_recipes.data.in_memory import PYTHON, splits_in_memory
from bert_recipes.data.readers import READERS, open_table
from bert_recipes.errors import UserError, in_one_line

# The stems under which a split's file may stand in a folder.
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
SAMPLE_SUBMISSION = "sample_submission.csv"


@dataclass
class Source:
    """Rows as they were found: raw splits, the name that would find the very same again, a sample submission."""

    splits: dict[str, Dataset]
    name: str
    sample_submission: Path | None = None


def read_source(names: list[str], encoding: str = "utf-8", in_memory: Any = None) -> Source:
    """Read the first of the data sets `names` that is here; if none is, the last one's absence is the error.

    Args:
        names: folders, files, Hub ids (`owner/name:subset@revision`) or `embedded:` names.
        encoding: of the text files.
        in_memory: rows given from Python, as `splits_in_memory` takes them; `names` then only names them.

    Returns:
        Raw splits; those of files are backed by the `datasets` cache on disk, so that `map` over them is cached by
        fingerprint.

    Raises:
        UserError: nothing is there, a file cannot be read, or the Hub is out of reach.
    """
    if in_memory is not None:
        return Source(_known_splits(splits_in_memory(in_memory)), names[0])
    name = next((n for n in names if embedded.is_embedded(n) or Path(n).expanduser().exists()), names[-1])
    if embedded.is_embedded(name):
        return _read_embedded(name)
    path = Path(name).expanduser()
    if path.is_dir():
        splits = {split: _read_file(file, encoding) for split, file in _files_of(path).items()}
        sample = path / SAMPLE_SUBMISSION
        return Source(splits, name, sample if sample.is_file() else None)
    if path.is_file():
        return Source({"train": _read_file(path, encoding)}, name)
    if name.startswith(PYTHON):
        raise UserError(f"--dataset {name}: the rows of this run came from Python: give them to train() again.")
    return Source(*read_hub_dataset(name, [n for n in names if n != name], SPLITS))


def _known_splits(splits: dict[str, Dataset]) -> dict[str, Dataset]:
    split_of = {stem: split for split, stems in SPLITS.items() for stem in stems}
    if unknown := [name for name in splits if name not in split_of]:
        raise UserError(f"dataset: '{unknown[0]}' is no split: call them {', '.join(SPLITS)}.")
    if len({split_of[name] for name in splits}) < len(splits):
        raise UserError(f"dataset: {', '.join(splits)} name one split twice: give each once.")
    return {split_of[name]: rows for name, rows in splits.items()}


def _read_embedded(name: str) -> Source:
    frames = embedded.read_dataset(name)
    text = Features({column: Value("string") for column in ("id", "text", "label")})
    splits = {}
    for split in frames:
        # The digest is part of what the cache is keyed by: other files would be other rows.
        key = {"name": name, "split": split, "digest": embedded.dataset_digest(name)}
        splits[split] = Dataset.from_generator(_embedded_rows, features=text, gen_kwargs=key)
    return Source(splits, name)


def _embedded_rows(name: str, split: str, digest: str) -> Iterator[dict[str, Any]]:
    yield from embedded.read_dataset(name)[split].to_dict("records")


def _files_of(folder: Path) -> dict[str, Path]:
    files = {}
    for split, stems in SPLITS.items():
        found = [folder / f"{s}{e}" for s in stems for e in READERS if (folder / f"{s}{e}").is_file()]
        if len(found) > 1:
            raise UserError(
                f"{folder} has more than one file for the {split} split: keep one of "
                f"{', '.join(file.name for file in found)}."
            )
        if found:
            files[split] = found[0]
    if not files:
        raise UserError(
            f"{folder} holds no data: expected train.csv, validation.csv, test.csv (or .tsv, .jsonl, .parquet)."
        )
    return files


@dataclass
class _FileConfig(BuilderConfig):
    """What makes a file's rows what they are, and so what their cache is keyed by."""

    path: str = ""
    encoding: str = "utf-8"
    size: int = 0
    changed: int = 0


class _FileBuilder(ArrowBasedBuilder):
    """Puts the rows of one file into the cache of `datasets`, where they are mapped into memory rather than held."""

    BUILDER_CONFIG_CLASS = _FileConfig

    def _info(self) -> DatasetInfo:
        return DatasetInfo()

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        return [SplitGenerator("train", gen_kwargs={"path": self.config.path, "encoding": self.config.encoding})]

    def _generate_tables(self, path: str, encoding: str) -> Iterator[tuple[int, pa.Table]]:
        for number, batch in enumerate(open_table(Path(path), encoding).batches()):
            yield number, pa.Table.from_batches([batch])


def _read_file(path: Path, encoding: str) -> Dataset:
    table = open_table(path, encoding)
    found = path.stat()
    builder = _FileBuilder(
        path=str(path.resolve()),
        encoding=encoding,
        size=found.st_size,
        changed=found.st_mtime_ns,
        features=_features(path, table.schema),
    )
    try:
        builder.download_and_prepare()
    except DatasetGenerationError as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {in_one_line(cause)}") from error
    if builder.info.splits["train"].num_examples == 0:
        raise UserError(f"{path} has no rows.")
    return builder.as_dataset(split="train")


def _features(path: Path, schema: pa.Schema) -> Features:
    try:
        return Features.from_arrow_schema(schema)
    # What `datasets` has once written into the file about its columns may be anything by now.
    except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
        raise UserError(
            f"{path} cannot be read as {path.suffix[1:]}: its columns are of types that datasets does not know "
            f"({in_one_line(error)})."
        ) from error
