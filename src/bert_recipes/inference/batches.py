"""Prediction as a stream in constant memory: what is alike for every model and engine.

Rows are read in chunks, sorted by length within a chunk, predicted in batches of like length, and put back in order.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bert_recipes.data.cells import Known, encode_column, unknown_cells, with_decimal_point
from bert_recipes.data.texts_to_tokens import TokensOfTexts
from bert_recipes.errors import UserError
from bert_recipes.inference.rows import TextRow

# A chunk ends with this many rows or characters: enough rows to sort, few enough to hold while they wait.
CHUNK_ROWS, CHUNK_CHARACTERS = 4096, 2**20
# Tokens of a batch, padding included: a CPU gains nothing by more, and with more a chunk of tweets is padded by a
# tenth and over, since its few batches each hold texts of many lengths.
TOKENS_PER_BATCH = {"cpu": 2048, "gpu": 16384}
# What a batch costs whatever is in it, as the time of so many tokens: on a CPU a text of the small embedded model
# takes as long alone as two in a batch. A GPU waits for its kernels, so there a second batch is never worth it.
BATCH_OVERHEAD = {"cpu": 64, "gpu": TOKENS_PER_BATCH["gpu"]}
# What computes logits `[batch, num_labels]` of padded tokens `[batch, length]` and columns `[batch]`.
Forward = Callable[[dict[str, np.ndarray]], np.ndarray]


@dataclass
class Batches:
    """How the tokens of a chunk are cut into batches and padded.

    Attributes:
        max_length: tokens of the longest text, or of a window.
        pad_token_id: of the tokenizer.
        num_labels: how many logits a row has.
        tokens_per_batch: at most, padding included.
        overhead: what a batch costs whatever is in it, in tokens.
        pad_to_multiple_of: batches are padded to a length that is a multiple of this, up to `max_length`.
        map: what applies a function to all batches of a chunk, as the built-in does, or to several at once.
    """

    max_length: int
    pad_token_id: int
    num_labels: int
    tokens_per_batch: int
    overhead: int
    pad_to_multiple_of: int = 1
    map: Callable[..., Iterator[np.ndarray]] = map

    def logits(
        self, tokens: Mapping[str, list[Any]], columns: Mapping[str, np.ndarray], forward: Forward, *, in_windows: bool
    ) -> np.ndarray:
        """Return the logits `[rows, num_labels]`, float32, of a chunk; of a text in windows the mean of theirs.

        Args:
            tokens: lists by name, one for each row; in windows lists of them.
            columns: what the model takes beside the text, `[rows]` each.
            forward: computes a batch.
            in_windows: whether the texts were cut into windows.
        """
        if not in_windows:
            return self._of_rows(tokens, columns, forward)
        counts = [len(windows) for windows in tokens["input_ids"]]
        flat = {name: list(itertools.chain(*values)) for name, values in tokens.items()}
        of_windows = {name: np.repeat(values, counts) for name, values in columns.items()}
        found = np.split(self._of_rows(flat, of_windows, forward), np.cumsum(counts)[:-1])
        return np.stack([of_text.mean(axis=0) for of_text in found])

    def _of_rows(
        self, tokens: Mapping[str, list[list[int]]], columns: Mapping[str, np.ndarray], forward: Forward
    ) -> np.ndarray:
        lengths = np.array([len(ids) for ids in tokens["input_ids"]])
        out = np.empty((len(lengths), self.num_labels), dtype=np.float32)
        batches = batches_of_tokens(lengths, self.tokens_per_batch, self.overhead)

        def logits(batch: np.ndarray) -> np.ndarray:
            part = {name: values[batch] for name, values in columns.items()}
            return forward(self._padded(tokens, batch, lengths[batch]) | part)

        for batch, found in zip(batches, self.map(logits, batches), strict=True):
            out[batch] = found
        return out

    def _padded(
        self, tokens: Mapping[str, list[list[int]]], batch: np.ndarray, lengths: np.ndarray
    ) -> dict[str, np.ndarray]:
        multiple = self.pad_to_multiple_of
        longest = min(-(-lengths.max() // multiple) * multiple, self.max_length)
        real = np.arange(longest) < lengths[:, None]
        inputs = {}
        for name in tokens:
            padded = np.full(real.shape, self.pad_token_id if name == "input_ids" else 0, dtype=np.int64)
            padded[real] = np.concatenate([tokens[name][i] for i in batch])
            inputs[name] = padded
        return inputs


def chunks(rows: Iterable[TextRow], columns: Collection[str] = ()) -> Iterator[list[TextRow]]:
    """Cut a stream of rows into lists of at most `CHUNK_ROWS` rows and about `CHUNK_CHARACTERS` characters.

    One always ends where the number of rows so far is a multiple of `CHUNK_ROWS`: a stream that begins at such a row
    is cut as the whole one, which is what makes parts of a prediction the same to the last bit.

    Args:
        rows: with all their cells.
        columns: those whose cells are kept; others may be large, and no one asks for them.
    """
    chunk, characters = [], 0
    for number, row in enumerate(rows, 1):
        kept = None if row.cells is None else {name: row.cells[name] for name in columns if name in row.cells}
        chunk.append(row._replace(cells=kept))
        texts = [row.text, row.text_pair, *(kept or {}).values()]
        characters += sum(len(text) for text in texts if isinstance(text, str))
        if number % CHUNK_ROWS == 0 or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def batches_of_tokens(lengths: np.ndarray, tokens: int, overhead: int) -> list[np.ndarray]:
    """Return row numbers in batches of like length, the longest first, that take the least time together.

    A batch holds at most `tokens` tokens, padding included, or one row. It takes as long as its tokens and `overhead`
    more, so that a few rows of many lengths are cut where the padding would cost more than another batch.

    Args:
        lengths: tokens of each row, `[rows]`.
        tokens: the most of a batch.
        overhead: what a batch costs whatever is in it, in tokens.
    """
    order = np.argsort(lengths, kind="stable")[::-1]
    sizes = np.maximum(lengths[order], 1)
    # The least cost of the first so many rows, and where the last batch of them starts.
    least, starts = np.zeros(len(order) + 1, np.int64), np.zeros(len(order) + 1, np.int64)
    counts = np.arange(len(order), 0, -1)
    first = 0
    for end in range(1, len(order) + 1):
        while first < end - 1 and sizes[first] * (end - first) > tokens:
            first += 1
        rows = counts[len(order) - (end - first) :]
        costs = least[first:end] + sizes[first:end] * rows
        starts[end] = first + costs.argmin()
        least[end] = costs[starts[end] - first] + overhead
    batches, end = [], len(order)
    while end:
        batches.append(order[starts[end] : end])
        end = starts[end]
    return batches[::-1]


def tokens_of(chunk: Sequence[TextRow], to_tokens: TokensOfTexts) -> dict[str, list[Any]]:
    """Return the tokens of a chunk's texts or pairs, lists by name."""
    pairs = None if chunk[0].text_pair is None else [row.text_pair or "" for row in chunk]
    return to_tokens([row.text for row in chunk], pairs)[0]


def encode_columns(
    chunk: Sequence[TextRow], columns: Mapping[str, Known], trained_on: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return the columns that a model takes beside the text, `[rows]` each, and of how many rows each is unknown.

    Args:
        chunk: rows with the cells of these columns.
        columns: what is known of each.
        trained_on: the configuration of the run that made the model.

    Raises:
        UserError: the rows do not have one of the columns.
    """
    encoded, unknown = {}, {}
    for name, known in columns.items():
        if any(row.cells is None or name not in row.cells for row in chunk):
            raise UserError(
                f"the model was trained with the column '{name}' beside the text, and the rows do not have it: "
                "give rows that do, as a .csv or a DataFrame."
            )
        cells = [row.cells[name] for row in chunk if row.cells]
        if trained_on.get("decimal") == ",":
            cells = [with_decimal_point(cell) for cell in cells]
        encoded[name], unknown[name] = encode_column(cells, known), unknown_cells(cells, known)
    return encoded, unknown
