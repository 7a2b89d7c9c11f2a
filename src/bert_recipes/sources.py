"""Where models and rows come from: files, the package index or the Hub, and whether the Hub can be asked."""

import codecs
import csv
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from accelerate import PartialState
from datasets import Dataset, Features, Value, load_dataset
from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from bert_recipes import embedded
from bert_recipes.errors import UserError
from bert_recipes.models import EncoderClassifierConfig

HUB_TIMEOUT = 5.0  # seconds

# The stems under which a split's file may stand in a folder.
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".parquet": "parquet"}
SAMPLE_SUBMISSION = "sample_submission.csv"
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer.model", "spiece.model", "vocab.json")


@dataclass
class Source:
    """Rows as they were found: raw splits, the name that would find the very same again, a sample submission."""

    splits: dict[str, Dataset]
    name: str
    sample_submission: Path | None = None


def model_source(name: str, *, finished: bool = False) -> str:
    """Return what `from_pretrained` takes for `--model name`: a local folder that holds a model.

    Args:
        name: a folder, `embedded:minilm`, or a Hub id as `owner/name` or `owner/name@revision`.
        finished: whether a model that the custom recipe made will do, as it does for predicting.

    Raises:
        UserError: it is none of these, or the Hub is out of reach.
    """
    # The main process asks the network, the others then find the files in the cache.
    with PartialState().main_process_first():
        return _model_source(name, finished)


def _model_source(name: str, finished: bool) -> str:
    if embedded.is_embedded(name):
        return str(embedded.model_path(name))
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked_model(path, name, finished)
    repository, _, revision = name.partition("@")
    if path.exists() or repository.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(
            f"--model {name} is neither a model folder nor a Hub id (owner/name): embedded:minilm needs no hub."
        )
    files = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        found = snapshot_download(repository, revision=revision or None, allow_patterns=files, local_files_only=True)
        return _checked_model(Path(found), name, finished)
    except (OSError, ValueError):
        pass  # not in the local cache: ask the Hub
    require_hub(f"--model {name}", ["--model embedded:minilm"])
    try:
        found = snapshot_download(repository, revision=revision or None, allow_patterns=files)
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise UserError(f"--model {name} cannot be had from the Hub: {str(error).splitlines()[0]}") from error
    return _checked_model(Path(found), name, finished)


def _checked_model(path: Path, name: str, finished: bool) -> str:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"--model {name} is no model folder: it has no config.json.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--model {name} has a config.json that cannot be read: {error}.") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in CONFIG_MAPPING:
        raise UserError(f"--model {name} is of a kind that transformers does not know (model_type {kind}).")
    if kind == EncoderClassifierConfig.model_type and not finished:
        raise UserError(
            f"--model {name} is a finished model of the custom recipe: start from the encoder that it was made of."
        )
    if not any((path / file).is_file() for file in ("model.safetensors", "model.safetensors.index.json")):
        pickled = next((f" but {file.name}" for file in sorted(path.glob("*.bin")) if file.is_file()), "")
        raise UserError(
            f"--model {name} has no weights in the safetensors format{pickled}: a pickle can run code when it is "
            "loaded, so save the model again with save_pretrained, which writes model.safetensors."
        )
    if not any((path / file).is_file() for file in TOKENIZER_FILES):
        raise UserError(f"--model {name} has no tokenizer ({', '.join(TOKENIZER_FILES[:2])}, …): save it there too.")
    return str(path)


# Families whose position ids start after the padding id: `pad_token_id + 1` of their positions are never used.
POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "roberta-prelayernorm"}
POSITIONS_AFTER_PADDING |= {"data2vec-text", "ibert", "xmod"}


def positions_of(source: str) -> int:
    """Return how many tokens the model in the folder `source` has positions for."""
    config = AutoConfig.from_pretrained(source)
    config = getattr(config, "encoder", None) or config
    positions = getattr(config, "max_position_embeddings", None) or 0
    if positions <= 0:  # as XLNet says that it has no limit
        return sys.maxsize
    return positions - (config.pad_token_id + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0)


def takes_token_types(config: PretrainedConfig) -> bool:
    """Whether a model of this configuration tells the two texts of a pair apart by token type ids.

    RoBERTa has an embedding for a single type, though a tokenizer that came with it may make two.
    """
    config = getattr(config, "encoder", None) or config
    return (getattr(config, "type_vocab_size", None) or 0) > 1


def read_rows(names: list[str], encoding: str) -> Source:
    """Read the first of the data sets `names` that is here; if none is, the last one's absence is the error.

    Args:
        names: folders, files, Hub ids (`owner/name@revision`) or `embedded:` names.
        encoding: of the text files.

    Returns:
        Raw splits backed by the `datasets` cache on disk, so that `map` over them is cached by fingerprint. Cells of
        `.csv` and `.tsv` files stay strings: an id "007" is not 7, and the text "NA" is not missing.

    Raises:
        UserError: nothing is there, a file cannot be read, or the Hub is out of reach.
    """
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
    return _read_from_hub(name, [n for n in names if n != name])


def _read_embedded(name: str) -> Source:
    frames = embedded.read_dataset(name)
    text = Features({column: Value("string") for column in ("id", "text", "label")})
    splits = {}
    for split in frames:
        # The digest is part of what the cache is keyed by: other files would be other rows.
        key = {"name": name, "split": split, "digest": embedded.dataset_digest(name)}
        splits[split] = Dataset.from_generator(_embedded_rows, features=text, gen_kwargs=key)
    return Source(splits, name)


def _embedded_rows(name: str, split: str, digest: str) -> Iterator[dict]:
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


def _read_file(path: Path, encoding: str) -> Dataset:
    if path.suffix not in READERS:
        raise UserError(f"{path} is of no known kind: give a file that ends in {', '.join(READERS)}.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} cannot be read: check its permissions.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty.")
    options = {}
    if path.suffix != ".parquet":
        check_encoding(path, encoding)
    if READERS[path.suffix] == "csv":
        encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        separator = "\t" if path.suffix == ".tsv" else ","
        options = {
            "sep": separator,
            "features": Features({name: Value("string") for name in _header(path, encoding, separator)}),
            "keep_default_na": False,
            "encoding": encoding,
        }
    elif READERS[path.suffix] == "json":
        options = {"encoding": encoding}
    try:
        return load_dataset(READERS[path.suffix], data_files=str(path), split="train", **options)
    except (DatasetGenerationError, DataFilesNotFoundError, ValueError) as error:
        cause = error.__cause__ or error
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {str(cause).strip().splitlines()[0]}") from error


def _header(path: Path, encoding: str, separator: str) -> list[str]:
    with path.open(encoding=encoding, newline="") as file:
        cells = csv.reader(file, delimiter=separator)
        header = next(cells, [])
        if next(cells, None) is None:
            raise UserError(f"{path} has a header and no rows.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{path} has more than one column named '{twice[0]}': rename all but one.")
    return header


def check_encoding(path: Path, encoding: str) -> None:
    """Read a text file once, to tell where it is not what `encoding` says.

    Raises:
        UserError: the encoding is unknown, a byte cannot be decoded, or the file has NUL bytes.
    """
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


def _read_from_hub(name: str, not_here: list[str]) -> Source:
    repository, _, revision = name.partition("@")
    alternatives = [embedded.PREFIX + key for key in embedded.DATASETS]
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise UserError(
            f"--dataset {name}: no such file or folder, and no Hub id (owner/name) either; without a hub there are "
            f"{', '.join(alternatives)}."
        )
    require_hub(f"--dataset {' '.join([*not_here, name])}", [*not_here, *alternatives])
    try:
        commit = HfApi().dataset_info(repository, revision=revision or None).sha
        splits = load_dataset(repository, revision=commit)
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        raise UserError(f"--dataset {name} cannot be loaded from the Hub: {str(error).splitlines()[0]}") from error
    return Source({split: splits[split] for split in SPLITS if split in splits}, f"{repository}@{commit}")


def why_hub_is_out_of_reach() -> str | None:
    """Return why the Hub cannot be asked, within a few seconds, or None where it answers."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    # A thread, since a name server that hangs heeds no timeout of a socket's.
    answers: list[str | None] = []
    asking = threading.Thread(target=_connect, args=(constants.ENDPOINT, answers), daemon=True)
    asking.start()
    asking.join(HUB_TIMEOUT + 1)
    return answers[0] if answers else f"nothing within {HUB_TIMEOUT:.0f} seconds"


def _connect(endpoint: str, answers: list[str | None]) -> None:
    url = urlparse(endpoint)
    try:
        port = url.port or {"http": 80}.get(url.scheme, 443)
        socket.create_connection((url.hostname, port), timeout=HUB_TIMEOUT).close()
        answers.append(None)
    except OSError as error:
        answers.append(str(error))


def require_hub(what: str, alternatives: list[str]) -> None:
    """Check that the Hub can be reached for `what`.

    Raises:
        UserError: it cannot; the sentence names the `alternatives` that need no network.
    """
    reason = why_hub_is_out_of_reach()
    if reason:
        raise UserError(
            f"{what}: there is no such file or folder here, and the Hub cannot be reached ({reason}); give a local "
            f"path, or take {' or '.join(alternatives)}, which needs no network."
        )
