"""Which file of a folder holds which split."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from bert_recipes.data.readers import ELSEWHERE, READERS
from bert_recipes.data.text_files import kind_of
from bert_recipes.errors import UserError

# The words for a split in the names of files and of data sets.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}
# One of several parts of a split, as the Hub names them.
PART = re.compile(r"(?P<word>[a-z]+)-\d{5}-of-\d{5}(-[0-9a-f]+)?")
SAMPLE = re.compile(r"sample_?sub(mission)?s?|sub(mission)?_?(sample|format|form|template)")


@dataclass
class FolderFiles:
    """The files of a folder.

    Attributes:
        splits: one file for each split, or the parts of it in their order.
        sample_submission: the form of a submission.
        unused: names of files that hold rows, or might, and were not taken for anything.
    """

    splits: dict[str, list[Path]] = field(default_factory=dict)
    sample_submission: Path | None = None
    unused: list[str] = field(default_factory=list)


def files_of(folder: Path) -> FolderFiles:
    """Find the files of a data set in its folder, or in `data/` below it, where the Hub has them.

    The name of the train file tells those of the others: beside `train.csv` stand `validation.csv` (`valid`, `val`,
    `dev`) and `test.csv`, and beside `ratings_train.txt` stands `ratings_test.txt`.

    Raises:
        UserError: there are no such files, or several for one split.
    """
    below = folder / "data"
    for place in (folder, below) if below.is_dir() else (folder,):
        try:
            files = sorted(file for file in place.iterdir() if file.is_file() and not file.name.startswith("."))
        except OSError as error:
            raise UserError(f"{place} cannot be read: {error.strerror or error}.") from error
        rows = [file for file in files if kind_of(file) in READERS or kind_of(file) in ELSEWHERE]
        samples = [file for file in rows if _is_sample(file)]
        splits = _splits_among([file for file in rows if file not in samples], place)
        if splits:
            used = [file for found in splits.values() for file in found] + samples
            unused = [file.name for file in rows if file not in used]
            return FolderFiles(splits, _only(samples, "sample submission", place), unused)
    raise UserError(
        f"{folder} holds no data: expected train.csv, validation.csv, test.csv (or {', '.join(READERS)}); name the "
        "files with --train_file, --validation_file and --test_file."
    )


def sample_submission_beside(file: Path) -> Path | None:
    """Return the sample submission in the folder of a file.

    Raises:
        UserError: there are several.
    """
    beside = sorted(other for other in file.parent.iterdir() if other.is_file() and kind_of(other) in READERS)
    found = [other for other in beside if _is_sample(other)]
    return _only(found, "sample submission", file.parent)


def _is_sample(file: Path) -> bool:
    """Whether a file is a sample submission by its name."""
    return SAMPLE.fullmatch(re.sub("[- ]", "_", _stem(file))) is not None


def _stem(file: Path) -> str:
    """Return a file's name in lower case without what follows the first suffix that tells its kind."""
    name = file.name.lower()
    return name[: name.rindex(kind_of(file))] if kind_of(file) else name


def _splits_among(files: list[Path], folder: Path) -> dict[str, list[Path]]:
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(_stem(file), []).append(file)
    pattern = "{}"
    if not any(word in by_stem for word in SPLITS["train"]) and not _parts_of("train", by_stem):
        pattern = _pattern_of_train(by_stem, folder)
    splits = {}
    for split, words in SPLITS.items():
        found = [file for word in words for file in by_stem.get(pattern.format(word), [])]
        if not found and pattern != "{}":
            found = [file for word in words for file in by_stem.get(word, [])]
        if found:
            splits[split] = [f for f in [_only(found, f"{split} split", folder, f"--{split}_file")] if f]
        elif parts := _parts_of(split, by_stem):
            splits[split] = parts
    return splits


def _parts_of(split: str, by_stem: dict[str, list[Path]]) -> list[Path]:
    found = []
    for stem, files in by_stem.items():
        match = PART.fullmatch(stem)
        if match and SPLIT_OF.get(match["word"]) == split:
            found += files
    return found


def _pattern_of_train(by_stem: dict[str, list[Path]], folder: Path) -> str:
    """Return what the names of the splits' files have in common, with `{}` for the word of the split."""
    found = {}
    for stem in by_stem:
        words = re.split(r"([-_. ])", stem)
        places = [i for i, word in enumerate(words) if word in SPLITS["train"]]
        if len(places) == 1 and not any(word in SPLIT_OF for i, word in enumerate(words) if i != places[0]):
            before, after = "".join(words[: places[0]]), "".join(words[places[0] + 1 :])
            found[stem] = f"{_literal(before)}{{}}{_literal(after)}"
    if len(found) > 1:
        names = ", ".join(file.name for stem in found for file in by_stem[stem])
        raise UserError(f"{folder}: the train split could be any of {names}: name it with --train_file.")
    return next(iter(found.values()), "{}")


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _only(files: list[Path], what: str, folder: Path, flag: str = "") -> Path | None:
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        named = f", or name it with {flag}" if flag else ""
        raise UserError(f"{folder} has more than one file for the {what}: keep one of {names}{named}.")
    return files[0] if files else None
