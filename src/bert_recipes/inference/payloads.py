"""What a client asks of the service: its JSON, checked and turned into rows, and what it is answered."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bert_recipes.data.column_guessing import joined
from bert_recipes.errors import UserError, some
from bert_recipes.inference.leave_one_out import Piece
from bert_recipes.inference.rows import TextRow
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bert_recipes.terminal import printable

# What a sentence shows of a name that a client chose.
SHOWN_CHARACTERS = 40
# Digits of a probability, as in predictions.csv.
DIGITS = 8

Cell = str | int | float | bool | None
Pair = Annotated[list[str], Field(min_length=2, max_length=2)]


@dataclass(frozen=True)
class Limits:
    """What one request may hold.

    Attributes:
        texts: the most rows.
        characters: the most of one text.
        body: the most bytes.
    """

    texts: int = 1000
    characters: int = 20_000
    body: int = 8 * 2**20


@dataclass(frozen=True)
class ServedModel:
    """What is known of the model that is served.

    Attributes:
        name: what `--model` named.
        label_names: in the order of the probabilities, `[num_labels]`.
        problem_type: what transformers calls the task.
        text_columns: of the text; the texts of several are joined.
        pair_column: of the second text of a pair, where it takes pairs.
        columns: what it takes beside the text.
    """

    name: str
    label_names: list[str]
    problem_type: str = SINGLE_LABEL
    text_columns: list[str] = field(default_factory=lambda: ["text"])
    pair_column: str | None = None
    columns: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, predictor: Any) -> "ServedModel":
        """Describe a loaded predictor."""
        text = predictor.trained_on.get("text_column") or ["text"]
        return cls(
            name,
            predictor.label_names,
            predictor.problem_type,
            [text] if isinstance(text, str) else list(text),
            predictor.trained_on.get("text_pair_column"),
            list(predictor.columns),
        )

    def described(self) -> dict[str, Any]:
        """Return all of it, for a client."""
        return dataclasses.asdict(self)

    @property
    def all_columns(self) -> list[str]:
        """The columns that a row needs."""
        return [*self.text_columns, *([self.pair_column] if self.pair_column else []), *self.columns]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PredictRequest(_Request):
    """Texts to predict, in exactly one of four forms."""

    text: str | None = Field(None, description="one text")
    texts: list[str] | None = Field(None, description="several texts")
    pairs: list[Pair] | None = Field(None, description="pairs of texts, for a model that was trained on pairs")
    rows: list[dict[str, Cell]] | None = Field(None, description="rows by the names of the training data's columns")


class ExplainRequest(_Request):
    """One text, in exactly one of three forms."""

    text: str | None = Field(None, description="a text")
    pair: Pair | None = Field(None, description="a pair of texts, for a model that was trained on pairs")
    row: dict[str, Cell] | None = Field(None, description="a row by the names of the training data's columns")


class FileQuery(BaseModel):
    """How a file is read; the same as the flags of `make predict`."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="ends in .csv, .tsv, .jsonl, or .txt for a text on each line")
    encoding: str | None = Field(None, description="of a file that is not UTF-8, such as cp949")
    delimiter: str | None = Field(None, description="what parts the cells, such as semicolon")
    text_column: str | None = None
    text_pair_column: str | None = None
    id_column: str | None = None


class Prediction(BaseModel):
    """What is predicted of one row.

    Attributes:
        prediction: the likeliest label; of several labels those over one half; of a regression its value, or, of
            several targets, the value of each.
        probabilities: by label; a regression has none.
    """

    prediction: str | list[str] | float | dict[str, float]
    probabilities: dict[str, float] | None = None


class Predictions(BaseModel):
    """The predictions of a request, in the order of its rows.

    Attributes:
        predictions: one for each row.
        notes: of columns whose values the training rows did not have.
    """

    predictions: list[Prediction]
    notes: list[str]


class WordEffect(BaseModel):
    """A word of an explained text.

    Attributes:
        text: the word, or several where the text is long.
        of_pair: whether it stands in the second text of a pair.
        start: its first character in that text.
        end: the one after its last.
        effect: by label, how much its probability, or a regression's value, sinks if the word is left out.
    """

    text: str
    of_pair: bool
    start: int
    end: int
    effect: dict[str, float]


class Explanation(Prediction):
    """A prediction, the texts that it is of, and what their words did for it."""

    text: str
    text_pair: str | None
    words: list[WordEffect]


class FileRow(Prediction):
    """A row of a file, with its prediction."""

    id: str
    text: str
    text_pair: str | None


class PredictedFile(BaseModel):
    """The rows of a file, and the same as the CSV file that `make predict` writes; notes as in `Predictions`."""

    rows: list[FileRow]
    csv: str
    notes: list[str]


class Problem(BaseModel):
    """Why a request is not answered, in one sentence."""

    error: str


def parse(body: bytes, kind: type[_Request]) -> Any:
    """Return a request, read from JSON.

    Raises:
        UserError: it is not JSON, or not such a request.
    """
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        raise UserError(_sentence(error, kind)) from None  # the cause quotes the text
    forms = list(kind.model_fields)
    given = [form for form in forms if getattr(request, form) is not None]
    if len(given) != 1:
        raise UserError(f"give exactly one of {', '.join(forms)}, not {' and '.join(given) or 'none of them'}.")
    return request


def _sentence(error: ValidationError, kind: type[_Request]) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where, message = first["loc"][:3], first["msg"]
    if first["type"] == "json_invalid":
        return f"the body is not valid JSON in UTF-8 ({message.removeprefix('Invalid JSON: ')})."
    if first["type"] == "extra_forbidden":
        return f"'{_shown(where[0])}' is unknown: give one of {', '.join(kind.model_fields)}."
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in where)
    return f"{place.lstrip('.') or 'the body'}: {message[0].lower()}{message[1:]}."


def _shown(name: object) -> str:
    text = printable(str(name))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def rows_of(request: PredictRequest | ExplainRequest, model: ServedModel, limits: Limits) -> list[TextRow]:
    """Return the rows of a request.

    Raises:
        UserError: there are none, they are too many or too long, or the model takes others.
    """
    form, given = _form_of(request)
    if not given:
        raise UserError("there is no text to predict: give at least one.")
    if len(given) > limits.texts:
        raise UserError(f"a request may have {limits.texts:,} texts, and this one has {len(given):,}: send several.")
    if form == "rows":
        found = list(_from_cells(given, model))
    else:
        _check_form(form == "pairs", model)
        pairs = given if form == "pairs" else [(text, None) for text in given]
        found = [TextRow(str(i), text, pair) for i, (text, pair) in enumerate(pairs)]
    check_rows(found, model, limits)
    return found


def _form_of(request: PredictRequest | ExplainRequest) -> tuple[str, list[Any]]:
    """Return the form of a request and what it gives, where one text is a list of one."""
    form, given = next((name, value) for name, value in request if value is not None)
    several = {"text": "texts", "pair": "pairs", "row": "rows"}
    return (several[form], [given]) if form in several else (form, given)


def _check_form(is_pairs: bool, model: ServedModel) -> None:
    if model.columns:
        raise UserError(f"the model takes {some(model.columns)} beside the text: give rows with {_named(model)}.")
    if is_pairs != bool(model.pair_column):
        raise UserError(
            f"the model was trained on pairs of texts: give pairs, or rows with {_named(model)}."
            if model.pair_column
            else "the model was trained on single texts, not on pairs: give text, texts or rows."
        )


def _named(model: ServedModel) -> str:
    return some([f"'{name}'" for name in model.all_columns], most=20)


def _from_cells(rows: Sequence[dict[str, Any]], model: ServedModel) -> Iterator[TextRow]:
    for number, cells in enumerate(rows):
        if missing := [name for name in model.all_columns if name not in cells]:
            raise UserError(f"row {number}, counted from 0, has no '{missing[0]}': the model takes {_named(model)}.")
        texts = [name for name in model.all_columns if name not in model.columns]
        if wrong := [name for name in texts if not isinstance(cells[name], str | None)]:
            raise UserError(f"row {number}, counted from 0, has no text in '{wrong[0]}', but {cells[wrong[0]]!r:.40}.")
        pair = joined([cells[model.pair_column]]) if model.pair_column else None
        yield TextRow(str(number), joined([cells[name] for name in model.text_columns]), pair, cells)


def check_rows(rows: Sequence[TextRow], model: ServedModel, limits: Limits) -> None:
    """Refuse rows that the model cannot take.

    Raises:
        UserError: a text is too long or has a NUL character, or a column is missing.
    """
    for number, row in enumerate(rows):
        where = f"row {number}, counted from 0,"
        cells = row.cells or {}
        if missing := [name for name in model.columns if name not in cells]:
            raise UserError(f"{where} has no '{missing[0]}': the model takes {_named(model)}.")
        texts = [row.text, row.text_pair, *(cells[name] for name in model.columns)]
        for text in (text for text in texts if isinstance(text, str)):
            if len(text) > limits.characters:
                raise UserError(
                    f"{where} has a text of {len(text):,} characters, and {limits.characters:,} are the most: "
                    "shorten it."
                )
            if "\0" in text:
                raise UserError(f"{where} has a NUL character in a text: remove it.")


def answer_of(values: np.ndarray, model: ServedModel) -> dict[str, Any]:
    """Return what a client is told of one row, as `Prediction` describes it.

    Args:
        values: its probabilities, or a regression's values, `[num_labels]`.
        model: the one that predicted them.
    """
    by_label = dict(zip(model.label_names, (round(float(value), DIGITS) for value in values), strict=True))
    if model.problem_type == REGRESSION:
        return {"prediction": by_label if len(by_label) > 1 else next(iter(by_label.values()))}
    if model.problem_type == MULTI_LABEL:
        held = [name for name, value in zip(model.label_names, values, strict=True) if value > 0.5]
        return {"prediction": held, "probabilities": by_label}
    return {"prediction": model.label_names[int(values.argmax())], "probabilities": by_label}


def effects_of(
    row: TextRow, pieces: Sequence[Piece], probabilities: np.ndarray, model: ServedModel
) -> list[dict[str, Any]]:
    """Return what each piece of a row changes by being left out, as `WordEffect` describes it.

    Args:
        row: the whole.
        pieces: of it.
        probabilities: of the row, then without each of its pieces, `[1 + pieces, num_labels]`.
        model: the one that predicted them.
    """
    effects = []
    for piece, effect in zip(pieces, probabilities[0] - probabilities[1:], strict=True):
        text = (row.text_pair or "") if piece.of_pair else row.text
        by_label = dict(zip(model.label_names, (round(float(value), DIGITS) for value in effect), strict=True))
        effects.append({"text": text[piece.start : piece.end], **dataclasses.asdict(piece), "effect": by_label})
    return effects
