"""Prediction as a stream: rows in, scores out, in the order of the rows and in constant memory.

Rows are read in windows, sorted by length within a window, predicted in batches of like length, and put back in order.
"""

import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import bert_recipes.models  # noqa: F401  registers the custom recipe's architecture
from bert_recipes import cpu
from bert_recipes.data import ID, ID_NAMES, PAIR_NAMES, TEXT_NAMES
from bert_recipes.errors import UserError
from bert_recipes.labels import REGRESSION, SINGLE_LABEL, predictions_of, probabilities_of
from bert_recipes.sources import check_encoding, model_source, positions_of, takes_token_types
from bert_recipes.training_arguments import has_native_bf16

# A window ends with this many rows or characters: enough rows to sort, few enough to hold while they wait.
WINDOW_ROWS, WINDOW_CHARACTERS = 4096, 2**20
# Tokens of a batch, padding included: a CPU gains nothing by more, and with more a window of tweets is padded by a
# tenth and over, since its few batches each hold texts of many lengths.
TOKENS_PER_BATCH = {"cpu": 2048, "gpu": 16384}
# Tensor cores take lengths that are multiples of 8.
PAD_TO_MULTIPLE_OF = {"cpu": 1, "gpu": 8}
# A text is tokenized up to the last space before this many characters for each token that it may have: what is behind
# them would be cut off, and takes 180 bytes a character until then.
CHARACTERS_PER_TOKEN = 64


class TextRow(NamedTuple):
    """A row to predict: its id, its text and, for pairs, the second text."""

    id: str
    text: str
    text_pair: str | None = None


class Predictor:
    """A classifier, ready to predict a stream of rows.

    Args:
        model: it returns logits `[batch, num_labels]`.
        tokenizer: the model's own.
        max_length: tokens a text is cut to.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.takes_token_types = takes_token_types(model.config)
        kind = "cpu" if model.device.type == "cpu" else "gpu"
        if kind == "cpu":
            cpu.quicken(model)
        self.tokens_per_batch, self.pad_to_multiple_of = TOKENS_PER_BATCH[kind], PAD_TO_MULTIPLE_OF[kind]

    @classmethod
    def load(
        cls, name: str, *, max_length: int | None = None, bf16: bool | None = None, trust_remote_code: bool = False
    ) -> "Predictor":
        """Load a model for prediction on the GPU, if there is one, and else on the CPU.

        Args:
            name: a run folder, a model folder or a Hub id.
            max_length: by default what the run was trained with, or else the most that the model takes.
            bf16: whether to compute in bfloat16; by default where the device has it natively.
            trust_remote_code: whether code that the model carries may run.

        Raises:
            UserError: there is no such model, it is a run in folds, or it takes fewer tokens than `max_length`.
        """
        folder = Path(name).expanduser()
        if (folder / "folds" / "1").is_dir():
            raise UserError(f"--model {name} is a run with a model for each fold: name one, as in {folder}/folds/1.")
        if run_configuration(name).get("recipe") == "baseline":
            raise UserError(
                f"--model {name} is a run of the baseline, which saves no model: name one of stock or custom."
            )
        of_run = (folder / "model" / "config.json").is_file()
        source = model_source(str(folder / "model") if of_run else name, finished=True)
        tokenizer = AutoTokenizer.from_pretrained(source)
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
        half = has_native_bf16() if bf16 is None else bf16
        model = AutoModelForSequenceClassification.from_pretrained(
            source, dtype=torch.bfloat16 if half else torch.float32, trust_remote_code=trust_remote_code
        )
        if half:
            _score_in_float32(model)
        most = min(tokenizer.model_max_length, positions_of(source))
        max_length = max_length or run_configuration(name).get("max_length") or min(most, 512)
        if max_length > most:
            raise UserError(f"--max_length {max_length} is more than the {most} that the model takes.")
        return cls(model.to(device), tokenizer, max_length)

    def logits(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """Yield windows of rows with their logits `[rows, num_labels]`, float32, in the order in which they came."""
        for window in windows(rows):
            yield window, self._logits_of_window(self._tokenize(window))

    def _tokenize(self, window: list[TextRow]) -> dict[str, list[list[int]]]:
        texts = [row.text for row in window]
        if window[0].text_pair is None:
            cut = [self._beginning(text) for text in texts]
            tokens = self.tokenizer(cut, truncation=True, max_length=self.max_length)
            for i, (text, ids) in enumerate(zip(texts, tokens["input_ids"], strict=True)):
                if len(ids) < self.max_length and len(cut[i]) < len(text):
                    # Its beginning was mostly spaces, or the like.
                    for name, values in self.tokenizer(text, truncation=True, max_length=self.max_length).items():
                        tokens[name][i] = values
        else:
            # Both texts of a pair decide where each is cut.
            pairs = [row.text_pair for row in window]
            tokens = self.tokenizer(texts, pairs, truncation=True, max_length=self.max_length)
        if not self.takes_token_types:
            tokens.pop("token_type_ids", None)
        return tokens

    def _beginning(self, text: str) -> str:
        most = CHARACTERS_PER_TOKEN * self.max_length
        end = text.rfind(" ", 0, most) if len(text) > most else -1
        return text if end < 0 else text[:end]

    def _logits_of_window(self, tokens: dict[str, list[list[int]]]) -> np.ndarray:
        lengths = np.array([len(ids) for ids in tokens["input_ids"]])
        out = np.empty((len(lengths), self.model.config.num_labels), dtype=np.float32)
        for batch in batches_of_tokens(lengths, self.tokens_per_batch):
            out[batch] = self._logits_of_batch(tokens, batch, lengths[batch])
        return out

    @torch.inference_mode()
    def _logits_of_batch(self, tokens, batch: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        multiple = self.pad_to_multiple_of
        longest = min(-(-lengths.max() // multiple) * multiple, self.max_length)
        real = np.arange(longest) < lengths[:, None]
        inputs = {}
        for name in tokens:
            padding = self.tokenizer.pad_token_id if name == "input_ids" else 0
            padded = np.full(real.shape, padding, dtype=np.int64)
            padded[real] = np.concatenate([tokens[name][i] for i in batch])
            inputs[name] = torch.from_numpy(padded).to(self.model.device)
        return self.model(**inputs).logits.float().cpu().numpy()


def windows(rows: Iterable[TextRow]) -> Iterator[list[TextRow]]:
    """Cut a stream of rows into lists of at most `WINDOW_ROWS` rows and about `WINDOW_CHARACTERS` characters."""
    window, characters = [], 0
    for row in rows:
        window.append(row)
        characters += len(row.text) + len(row.text_pair or "")
        if len(window) == WINDOW_ROWS or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def batches_of_tokens(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Yield row numbers in batches of like length, the longest first.

    A batch holds at most `tokens` tokens, padding included, or one row.
    """
    order = np.argsort(lengths, kind="stable")[::-1]
    while len(order):
        size = max(1, tokens // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def _score_in_float32(model: PreTrainedModel) -> None:
    # In bfloat16 the logits themselves would come in steps of 1/128 and make ties of rows that differ.
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == model.config.num_labels]
    if layers:
        layers[-1].float().register_forward_pre_hook(lambda layer, inputs: tuple(x.float() for x in inputs))


def run_configuration(name: str) -> dict:
    """Return what `run.yaml` says of the run that `name` is, or whose `model/` it is; nothing, where there is none."""
    folder = Path(name).expanduser()
    for path in (folder / "run.yaml", folder.parent / "run.yaml" if folder.name == "model" else None):
        if path and path.is_file():
            return yaml.safe_load(path.read_text(encoding="utf-8"))
    return {}


def write_predictions(file: TextIO, predictor: Predictor, rows: Iterable[TextRow]) -> Iterator[int]:
    """Write `id`, `prediction` and a column of probabilities per label for a stream of rows, as a run does.

    A model of several labels predicts those over one half, joined by `|`; of a regression the values are written.

    Yields:
        After each window, how many rows are written.
    """
    config = predictor.model.config
    problem_type = config.problem_type or SINGLE_LABEL
    names = [config.id2label[i] for i in range(config.num_labels)]
    # As in a run: the value of a single target stands in `prediction` alone.
    columns = [] if problem_type == REGRESSION and len(names) == 1 else names
    out = csv.writer(file)
    out.writerow([ID, "prediction", *columns])
    written = 0
    for window, logits in predictor.logits(rows):
        probabilities = probabilities_of(logits, problem_type)
        predictions = predictions_of(probabilities, names, problem_type)
        for row, prediction, numbers in zip(window, predictions, probabilities, strict=True):
            out.writerow([row.id, prediction, *(f"{number:.8f}" for number in numbers[: len(columns)])])
        written += len(window)
        yield written


# Reading


def read_stream(
    path: str,
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    id_column: str | None = None,
    trained_on: dict | None = None,
    encoding: str = "utf-8",
) -> Iterator[TextRow]:
    """Yield the rows of a file, or of standard input for `-`, one after the other.

    Args:
        path: `.csv`, `.tsv`, `.jsonl` or `.parquet` with named columns; `.txt` or `-` with one text per line.
        text_column: its name; by default the one of `trained_on`, where the file has it, or one of the usual names.
        text_pair_column: of the second text of a pair, likewise.
        id_column: likewise; where there is none, the rows' numbers, from 0, are their ids.
        trained_on: the configuration of the run that made the model.
        encoding: of a text file.

    Raises:
        UserError: the file or one of its rows cannot be read, or a column is missing.
    """
    if path == "-":
        return _numbered(_stdin_lines(encoding))
    file = Path(path).expanduser()
    if file.suffix not in READERS:
        raise UserError(f"--input {path} is of no known kind: give a file that ends in {', '.join(READERS)}, or -.")
    if not file.is_file():
        raise UserError(f"--input {path}: there is no such file.")
    if file.suffix != ".parquet":
        check_encoding(file, encoding)
    if file.suffix == ".txt":
        return _numbered(_lines(file, encoding))
    names, cells = READERS[file.suffix](file, encoding)
    wanted = {"text": text_column, "text_pair": text_pair_column, "id": id_column}
    return _rows(cells, _columns(names, wanted, trained_on or {}, path), path)


def _columns(names: list[str], wanted: dict[str, str | None], trained_on: dict, path: str) -> dict[str, str | None]:
    for part, name in wanted.items():
        if name is not None and name not in names:
            raise UserError(f"--{part}_column {name}: {path} has no such column; it has {', '.join(names)}.")

    def trained(part):
        name = trained_on.get(f"{part}_column")
        return name if name in names else None

    pairs = [pair for pair in PAIR_NAMES if set(pair) <= set(names)]
    usual_pair = pairs[0] if len(pairs) == 1 and wanted["text"] is None and trained("text") is None else (None, None)
    text = wanted["text"] or trained("text") or _usual(names, TEXT_NAMES) or usual_pair[0]
    pair = wanted["text_pair"] or trained("text_pair") or (usual_pair[1] if text == usual_pair[0] else None)
    if text is None:
        raise UserError(f"{path}: which column is the text? Name it with --text_column; it has {', '.join(names)}.")
    if pair is None and trained_on.get("text_pair_column"):
        raise UserError(
            f"{path}: the model was trained on pairs: name the second text with --text_pair_column; it has "
            f"{', '.join(names)}."
        )
    return {"text": text, "text_pair": pair, "id": wanted["id"] or trained("id") or _usual(names, ID_NAMES)}


def _usual(names: list[str], usual: tuple[str, ...]) -> str | None:
    found = [name for name in names if name.lower() in usual]
    return found[0] if len(found) == 1 else None


def _rows(cells: Iterator[dict], columns: dict[str, str | None], path: str) -> Iterator[TextRow]:
    texts = [columns["text"], *([columns["text_pair"]] if columns["text_pair"] else [])]
    for number, row in enumerate(cells):
        for name in texts:
            if not isinstance(row.get(name), str | None):
                raise UserError(
                    f"{path}: row {number}, counted from 0, has {row[name]!r} in '{name}', which is no text."
                )
        identifier = row.get(columns["id"]) if columns["id"] else number
        yield TextRow(str(identifier), *(row.get(name) or "" for name in texts))


def _numbered(lines: Iterator[str]) -> Iterator[TextRow]:
    for number, line in enumerate(lines):
        yield TextRow(str(number), line.rstrip("\r\n"))


def _stdin_lines(encoding: str) -> Iterator[str]:
    for line in sys.stdin.buffer:
        try:
            yield line.decode(encoding)
        except (UnicodeDecodeError, LookupError) as error:
            raise UserError(
                f"standard input is not {encoding} ({error}): name its encoding with --encoding."
            ) from error


def _lines(file: Path, encoding: str) -> Iterator[str]:
    with file.open(encoding=_with_mark(encoding)) as lines:
        yield from lines


def _with_mark(encoding: str) -> str:
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def _read_table(file: Path, encoding: str, delimiter: str) -> tuple[list[str], Iterator[dict]]:
    csv.field_size_limit(2**31 - 1)
    with file.open(encoding=_with_mark(encoding), newline="") as opened:
        names = next(csv.reader(opened, delimiter=delimiter), [])
    if not names:
        raise UserError(f"{file} is empty.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{file} has more than one column named '{twice[0]}': rename all but one.")
    return names, _table_rows(file, encoding, delimiter, names)


def _table_rows(file: Path, encoding: str, delimiter: str, names: list[str]) -> Iterator[dict]:
    with file.open(encoding=_with_mark(encoding), newline="") as opened:
        reader = csv.reader(opened, delimiter=delimiter)
        try:
            for cells in itertools.islice(reader, 1, None):
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise UserError(
                        f"{file}: line {reader.line_num} ends a row of {len(cells)} cells, and the header names "
                        f"{len(names)}: mend it."
                    )
                yield dict(zip(names, cells, strict=True))
        except csv.Error as error:
            raise UserError(f"{file}: line {reader.line_num} cannot be read ({error}).") from error


def _read_csv(file: Path, encoding: str):
    return _read_table(file, encoding, ",")


def _read_tsv(file: Path, encoding: str):
    return _read_table(file, encoding, "\t")


def _read_jsonl(file: Path, encoding: str):
    first = next(_json_rows(file, encoding), None)
    if first is None:
        raise UserError(f"{file} is empty.")
    return list(first), _json_rows(file, encoding)


def _json_rows(file: Path, encoding: str) -> Iterator[dict]:
    for number, line in enumerate(_lines(file, encoding), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{file}: line {number} is no JSON ({error}).") from error
        if not isinstance(row, dict):
            raise UserError(f"{file}: line {number} is no JSON object of columns and cells.")
        yield row


def _read_parquet(file: Path, encoding: str):
    try:
        opened = pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file} cannot be read as parquet: {str(error).splitlines()[0]}") from error
    batches = opened.iter_batches(batch_size=WINDOW_ROWS)
    return opened.schema_arrow.names, (row for batch in batches for row in batch.to_pylist())


READERS = {".csv": _read_csv, ".tsv": _read_tsv, ".jsonl": _read_jsonl, ".parquet": _read_parquet, ".txt": None}
