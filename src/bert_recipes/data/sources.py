"""Where rows come from: files, the package index, the Hub or Python, as raw splits."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
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
    concatenate_datasets,
)
from datasets.exceptions import DatasetGenerationError

from bert_recipes.config.arguments import PYTHON, DataArguments
from bert_recipes.data import embedded
from bert_recipes.data.folders import SPLIT_OF, SPLITS, files_of, sample_submission_beside
from bert_recipes.data.hub_datasets import read_hub_dataset
from bert_recipes.data.in_memory import splits_in_memory
from bert_recipes.data.readers import open_table
from bert_recipes.data.saved_to_disk import is_saved_to_disk, read_from_disk
from bert_recipes.data.text_files import TextFormat
from bert_recipes.errors import UserError, in_one_line, some


@dataclass
class Source:
    """Rows as they were found.

    Attributes:
        splits: raw rows by split.
        name: what would find the very same again.
        sample_submission: the form of a submission that came with them.
        notes: what the user should know about the files, as sentences.
        text_format: in which its text files, the sample submission too, are written.
    """

    splits: dict[str, Dataset]
    name: str
    sample_submission: Path | None = None
    notes: list[str] = field(default_factory=list)
    text_format: TextFormat = field(default_factory=TextFormat)


def read_source(args: DataArguments) -> Source:
    """Read the first of the data sets `args.dataset` that is here; if none is, the last one's absence is the error.

    A train file takes the place of the data set; a validation or a test file that of its split.

    Args:
        args: `dataset` names folders, files, Hub ids (`owner/name:subset@revision`) or `embedded:` data, unless
            `in_memory` has the rows.

    Returns:
        Raw splits; those of files are backed by the `datasets` cache on disk, so that `map` over them is cached by
        fingerprint.

    Raises:
        UserError: nothing is there, a file cannot be read, or the Hub is out of reach.
    """
    text_format = TextFormat.of(vars(args))
    files = {"train": args.train_file, "validation": args.validation_file, "test": args.test_file}
    if args.in_memory is not None:
        source = Source(_known_splits(splits_in_memory(args.in_memory)), args.dataset[0])
    elif args.train_file:
        source = Source({}, args.train_file)
    else:
        source = _read_named(args.dataset, text_format)
    for split, name in files.items():
        if name:
            path = Path(name).expanduser()
            if not path.is_file():
                raise UserError(f"--{split}_file {name}: there is no such file.")
            source.splits[split] = _read_files([path], text_format, source.notes)
            if split == "test":
                source.sample_submission = sample_submission_beside(path)
    source.text_format = text_format
    return source


def _read_named(names: list[str], text_format: TextFormat) -> Source:
    name = next((n for n in names if embedded.is_embedded(n) or Path(n).expanduser().exists()), names[-1])
    if embedded.is_embedded(name):
        return _read_embedded(name)
    path = Path(name).expanduser()
    if is_saved_to_disk(path):
        return Source(_known_splits(read_from_disk(path)), name)
    if path.is_dir():
        return _read_folder(path, name, text_format)
    if path.is_file():
        source = Source({}, name)
        source.splits["train"] = _read_files([path], text_format, source.notes)
        return source
    if name.startswith(PYTHON):
        raise UserError(f"--dataset {name}: the rows of this run came from Python: give them to train() again.")
    return Source(*read_hub_dataset(name, [n for n in names if n != name], SPLITS))


def _read_folder(folder: Path, name: str, text_format: TextFormat) -> Source:
    found = files_of(folder)
    source = Source({}, name, found.sample_submission)
    for split, files in found.splits.items():
        source.splits[split] = _read_files(files, text_format, source.notes)
    named = [f"{split} is {files[0].name}" for split, files in found.splits.items() if files[0].stem != split]
    if named:
        source.notes.append(f"By the names of the files, {', '.join(named)}.")
    if found.unused:
        source.notes.append(f"Not used, in {name}: {some(found.unused)}.")
    return source


def _known_splits(splits: dict[str, Dataset]) -> dict[str, Dataset]:
    if unknown := [name for name in splits if name not in SPLIT_OF]:
        raise UserError(f"dataset: '{unknown[0]}' is no split: call them {', '.join(SPLITS)}.")
    if len({SPLIT_OF[name] for name in splits}) < len(splits):
        raise UserError(f"dataset: {', '.join(splits)} name one split twice: give each once.")
    return {SPLIT_OF[name]: rows for name, rows in splits.items()}


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


@dataclass
class _FileConfig(BuilderConfig):
    """What makes a file's rows what they are, and so what their cache is keyed by."""

    path: str = ""
    encoding: str = "utf-8"
    delimiter: str | None = None
    quoting: str | None = None
    header: bool = True
    size: int = 0
    changed: int = 0


class _FileBuilder(ArrowBasedBuilder):
    """Puts the rows of one file into the cache of `datasets`, where they are mapped into memory rather than held."""

    BUILDER_CONFIG_CLASS = _FileConfig

    def _info(self) -> DatasetInfo:
        return DatasetInfo()

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        return [SplitGenerator("train", gen_kwargs={"path": self.config.path})]

    def _generate_tables(self, path: str) -> Iterator[tuple[int, pa.Table]]:
        config = self.config
        text_format = TextFormat(config.encoding, config.delimiter, config.quoting, config.header)
        for number, batch in enumerate(open_table(Path(path), text_format).batches()):
            yield number, pa.Table.from_batches([batch])


def _read_files(paths: list[Path], text_format: TextFormat, notes: list[str]) -> Dataset:
    """Return the rows of the parts of a split, and add to `notes` what the user should know about them."""
    parts = [_read_file(path, text_format, notes) for path in paths]
    if len(parts) == 1:
        return parts[0]
    names = ", ".join(path.name for path in paths)
    try:
        if len({frozenset(part.column_names) for part in parts}) > 1:
            raise ValueError("not all have the same")
        return concatenate_datasets(parts)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise UserError(
            f"{paths[0].parent}: {names} are parts of one split, and their columns differ ({in_one_line(error)}): "
            "give all the same columns."
        ) from error


def _read_file(path: Path, text_format: TextFormat, notes: list[str]) -> Dataset:
    table = open_table(path, text_format)
    notes += [table.note] if table.note else []
    found = path.stat()
    builder = _FileBuilder(
        path=str(path.resolve()),
        **dataclasses.asdict(text_format),
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
        raise UserError(f"{path} cannot be read: {in_one_line(cause)}") from error
    if builder.info.splits["train"].num_examples == 0:
        raise UserError(f"{path} has no rows.")
    return builder.as_dataset(split="train")


def _features(path: Path, schema: pa.Schema) -> Features:
    try:
        return Features.from_arrow_schema(schema)
    # What `datasets` has once written into the file about its columns may be anything by now.
    except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
        raise UserError(
            f"{path} cannot be read: its columns are of types that datasets does not know ({in_one_line(error)})."
        ) from error
