"""What a station is made of, and the models that the tour takes apart."""

import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import torch
import transformers
import yaml
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bert_recipes.anatomy.probes import PROBES, Probe, script_of
from bert_recipes.errors import UserError, in_one_line
from bert_recipes.modeling.loading import custom_config
from bert_recipes.modeling.pretrained import resolve_model

HOLDS, CHANGED, BROKEN, ELSEWHERE = "holds", "changed", "broken", "elsewhere"


class Said:
    """A text by its key in `en.yaml` and `ko.yaml`, with the values that fill its places."""

    def __init__(self, key: str, **values: object) -> None:
        self.key = key
        self.values = values

    def __repr__(self) -> str:
        return f"Said({self.key}, {self.values})"


class Code(str):
    """A cell that is set as code: a name, a shape, a value."""

    __slots__ = ()


Cell = str | Code | Said


@dataclass
class Table:
    """Rows under a header; without one, a list of names and values. `marked` rows stand out."""

    rows: Sequence[Sequence[Cell]]
    header: Sequence[Cell] | None = None
    title: Said | None = None
    marked: list[int] = field(default_factory=list)


@dataclass
class Flow:
    """Steps from left to right: `(name, shape)`; those from `fork` on belong to the stock model alone."""

    steps: list[tuple[str, str]]
    fork: int


@dataclass
class Tokens:
    """The columns `token, id, type id, mask` of one encoded text; a part is None where the model takes none."""

    columns: list[tuple[str, int, int | None, int]]
    title: Said


@dataclass
class Printed:
    """What Python prints of a value, set as it comes."""

    text: str
    title: Said


@dataclass
class Rays:
    """Weights from 0 to 1 that flow from words into one token, drawn as rays."""

    target: str
    words: list[str]
    weights: list[float]
    title: Said


@dataclass
class Heat:
    """Weights from 0 to 1 of words, one row each for what they were taken from."""

    words: list[str]
    rows: Sequence[tuple[Cell, list[float]]]
    title: Said


@dataclass
class Bars:
    """Lengths to compare: `(label, value, value as shown, whether it stands out)`."""

    rows: Sequence[tuple[Cell, float, Cell, bool]]
    title: Said


@dataclass
class PerLanguage:
    """Tables whose titles and cells differ by language."""

    tables: dict[str, list[Table]]


Block = PerLanguage | Table | Flow | Tokens | Printed | Rays | Heat | Bars | Said


@dataclass
class Check:
    """Something that was tried: what should be, whether it is, and, where a release is known to differ, what is."""

    what: Said
    passed: bool
    instead: Said | None = None


@dataclass
class Trap:
    """What plain `Trainer` does, what this project does, and whether each does what a user would expect."""

    key: str
    code: str
    plain: Cell
    ours: Cell
    still: bool
    safe: bool


@dataclass
class Station:
    """One stop: its key in the texts, the code that ran, what it gave and what was checked."""

    key: str
    code: str = ""
    blocks: Sequence[Block] = ()
    checks: list[Check] = field(default_factory=list)
    traps: list[Trap] = field(default_factory=list)
    elsewhere: Said | None = None

    @property
    def verdict(self) -> str:
        """HOLDS; CHANGED, a change that is known; BROKEN, a claim that fails; ELSEWHERE, not for this model."""
        failed = [check for check in self.checks if not check.passed]
        if any(check.instead is None for check in failed) or not all(trap.safe for trap in self.traps):
            return BROKEN
        if self.elsewhere is not None:
            return ELSEWHERE
        return CHANGED if failed else HOLDS

    @property
    def instead(self) -> list[Said]:
        """What happens in place of what was claimed."""
        return [check.instead or check.what for check in self.checks if not check.passed]


def source_of(*functions: Callable[..., Any]) -> str:
    """Return the code of the functions that a station ran, as it is shown."""
    return "\n\n".join(textwrap.dedent(inspect.getsource(function)).rstrip() for function in functions)


def shape(tensor: torch.Tensor) -> Code:
    """Return a tensor's shape as it is shown."""
    return Code(list(tensor.shape))


def numbers(values: Any, digits: int = 4) -> Code:
    """Return a few numbers as they are shown, rounded."""
    shown = [f"{float(value):.{digits}f}" for value in torch.as_tensor(values).flatten()]
    shown = [text.removeprefix("-") if float(text) == 0 else text for text in shown]
    return Code(shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]")


@cache
def texts(language: str) -> dict[str, Any]:
    """Return all that the tour says in a language, by station and key."""
    return yaml.safe_load(files("bert_recipes.anatomy").joinpath(f"{language}.yaml").read_text(encoding="utf-8"))


def text_of(cell: Cell, language: str, station: str = "common") -> str:
    """Return a cell in a language; a key is looked up among the station's texts, then among the common ones."""
    if not isinstance(cell, Said):
        return str(cell)
    words = texts(language)
    found = words.get(station, {}).get(cell.key) or words["common"][cell.key]
    values = {k: text_of(v, language, station) if isinstance(v, Said) else v for k, v in cell.values.items()}
    return " ".join(found.split()).format(**values)


@dataclass
class Tour:
    """The plain and the stock model of one checkpoint, and one small batch: the text and a second one."""

    model: str
    source: str
    text: str
    num_labels: int
    tokenizer: PreTrainedTokenizerBase
    plain: PreTrainedModel
    stock: PreTrainedModel
    about_plain: dict[str, Any]
    about_stock: dict[str, Any]

    @property
    def script(self) -> str:
        """The script of the vocabulary."""
        return script_of(self.tokenizer.get_vocab())

    @property
    def probe(self) -> Probe:
        """Texts in that script, or else in the Latin one."""
        return PROBES.get(self.script, PROBES["LATIN"])

    @property
    def tokens(self) -> BatchEncoding:
        """The batch, padded: tensors `[2, length]`."""
        return self.tokenizer([self.text, self.probe.second], padding=True, truncation=True, return_tensors="pt")

    @property
    def has_bert_head(self) -> bool:
        """Whether the stock head is BERT's: dropout and a linear layer over the encoder's pooler."""
        head = {name for name, child in self.stock.named_children() if child is not self.stock.base_model}
        return (
            getattr(self.plain, "pooler", None) is not None
            and getattr(self.stock.base_model, "pooler", None) is not None
            and head == {"dropout", "classifier"}
            and isinstance(self.stock.classifier, torch.nn.Linear)
        )

    @property
    def pooler_is_stored(self) -> bool:
        """Whether the pooler's weights come from the checkpoint, and so are the same in both models."""
        missing = (*self.about_plain["missing_keys"], *self.about_stock["missing_keys"])
        return not any("pooler." in key for key in missing)


def load(source: str, num_labels: int) -> tuple[Any, ...]:
    """Load the plain and the stock model, and what became of the checkpoint's weights."""
    plain, about_plain = AutoModel.from_pretrained(source, attn_implementation="eager", output_loading_info=True)
    torch.manual_seed(0)  # the new head is random
    stock, about_stock = AutoModelForSequenceClassification.from_pretrained(
        source,
        num_labels=num_labels,
        ignore_mismatched_sizes=True,
        attn_implementation="eager",
        output_loading_info=True,
    )
    return plain, stock, about_plain, about_stock


def begin(model: str, text: str | None, num_labels: int) -> Tour:
    """Load what the tour takes apart; without a text it takes one in the script of the tokenizer.

    Raises:
        UserError: the model is not there, or is no encoder that transformers can classify with.
    """
    if text is not None and not text.strip():
        raise UserError("--text is empty: give a sentence.")
    if num_labels < 2:
        raise UserError(f"--num_labels {num_labels}: give 2 or more (one label would be a regression).")
    source = resolve_model(model)
    if custom_config(source):
        raise UserError(
            f"--model {model} is a model of the custom recipe, and the tour compares transformers' own: name the "
            "encoder that it was made of."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        loaded = load(source, num_labels)
    except (ValueError, OSError) as error:
        raise UserError(
            f"--model {model} cannot be taken as plain and as stock model: {in_one_line(error)}"
        ) from error
    if tokenizer.pad_token is None or tokenizer.cls_token is None or not tokenizer.is_fast:
        raise UserError(f"--model {model} is no encoder like BERT: its tokenizer has no [PAD] or no [CLS].")
    tour = Tour(model, source, text or "", num_labels, tokenizer, *loaded)
    tour.text = text or tour.probe.text
    return tour


def versions() -> dict[str, str]:
    """Return the versions that the answers hold for."""
    return {"transformers": transformers.__version__, "torch": torch.__version__.partition("+")[0]}


def verdict_of(told: Station | Trap, language: str) -> tuple[str, str]:
    """Return a station's or a trap's verdict in a language, and what happens instead."""
    words, version = texts(language)["common"], versions()["transformers"]
    if isinstance(told, Trap):
        key = "unsafe" if not told.safe else "still" if told.still else "fixed"
        return words[key].format(version=version), ""
    instead = told.instead or ([told.elsewhere] if told.elsewhere is not None else [])
    said = "; ".join(text_of(each, language, told.key).rstrip(".") for each in instead)
    return words[told.verdict].format(version=version), f"{said}." if said else ""
