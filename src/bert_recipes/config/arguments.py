"""What can be set beside what `TrainingArguments` has: dataclasses whose fields are flags and keys of YAML files."""

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any, ClassVar, cast

from bert_recipes.config.ranges import check_ranges
from bert_recipes.config.reading import LONG_TEXTS, MOST_WINDOWS, Reading
from bert_recipes.task import TASKS

# What `--quoting` takes, in training and in prediction.
QUOTINGS = ("double", "backslash", "none")
# What `--normalize` takes; `data.normalization.RULES` has them, which imports what --help does without.
NORMALIZED = ("entities", "urls", "mentions")
# What `dataset` begins with where the rows were given from Python.
PYTHON = "python:"
# Named here too, since --help answers without importing torch: `modeling.pooling.POOLINGS` has them.
POOLING_NAMES = ("pooler", "cls", "mean", "max", "mean_max", "attention", "cls_last4", "layer_mix")

# The flags that take code of the user's own: `file.py:name`, or the class or function itself from Python.
OWN_CODE = ("classifier", "pooling", "loss")
# What a classifier of the user's own takes the place of.
OF_THE_HEAD = {
    *("pooling", "head_layers", "head_size", "head_activation", "head_dropout", "dropout_samples"),
    *("reinit_layers", "lora_rank"),
}


def replaced_by(given: Collection[str], below: Collection[str]) -> set[str]:
    """Return which keys of a configuration have no meaning under what is laid over it, and are not given there.

    The labels are those of its own data set, and a classifier of the user's own brings its own head.

    Args:
        given: names of what is laid over it.
        below: the keys of the configuration.
    """
    replaced = {"labels"} if "dataset" in given else set()
    if "classifier" in given:
        replaced |= OF_THE_HEAD
    return replaced.intersection(below) - set(given)


@dataclass
class DataArguments:
    """Where the rows come from and how they become tokens."""

    dataset: list[str] = field(
        default_factory=lambda: ["embedded:fine-foods"],
        metadata={
            "help": "a folder with train/validation/test files (.csv .tsv .txt .json .jsonl .parquet, the text ones "
            "also as .gz or .zip), one file, a Hub id (owner/name:subset@revision), embedded:fine-foods or "
            "embedded:bbc-news; if several are given, the first that exists is used"
        },
    )
    train_file: str | None = field(default=None, metadata={"help": "file of the train split, instead of --dataset"})
    validation_file: str | None = field(default=None, metadata={"help": "file of the validation split"})
    test_file: str | None = field(default=None, metadata={"help": "file of the test split"})
    text_column: list[str] | None = field(
        default=None, metadata={"help": "column of the text (guessed), or several: their texts are joined"}
    )
    text_pair_column: str | None = field(default=None, metadata={"help": "column of the second text of a pair"})
    label_column: list[str] | None = field(
        default=None,
        metadata={"help": "column of the label (guessed), or several: one per label or target"},
    )
    id_column: str | None = field(default=None, metadata={"help": "column of the id (guessed; else the row number)"})
    task: str | None = field(
        default=None, metadata={"help": "what the labels are (guessed from them)", "choices": list(TASKS)}
    )
    label_delimiter: str | None = field(
        default=None, metadata={"help": "separator of the labels in one cell of a multi-label column (guessed)"}
    )
    labels: list[str] | None = field(
        default=None, metadata={"help": "the labels in the order of their class ids (default: sorted)"}
    )
    no_test_labels: bool = field(
        default=False, metadata={"help": "the labels in the test file are placeholders: leave them out"}
    )
    corrections: str | None = field(
        default=None,
        metadata={"help": "a file with the columns id and label: labels that take the place of those in the data"},
    )
    encoding: str = field(default="utf-8", metadata={"help": "encoding of the text files that are not UTF-8"})
    delimiter: str | None = field(
        default=None,
        metadata={"help": "separator of the cells of a row (default: comma in .csv, tab in .tsv and .txt)"},
    )
    quoting: str | None = field(
        default=None,
        metadata={
            "help": "how a quotation mark within a quoted cell is written: double or backslash (found out); none: a "
            "quotation mark is a character as any other",
            "choices": list(QUOTINGS),
        },
    )
    decimal: str = field(
        default=".", metadata={"help": "decimal mark of numbers in labels and other columns", "choices": [".", ","]}
    )
    no_header: bool = field(
        default=False, metadata={"help": "the first row is data: columns are named by their numbers, from 0"}
    )
    max_length: int = field(
        default=128, metadata={"help": "texts are truncated to this many tokens, special tokens included"}
    )
    long_texts: str | None = field(
        default=None,
        metadata={
            "help": "what of a longer text is read: its head, its tail, head_tail (a quarter of --max_length from its "
            "head and the rest from its tail), or all in overlapping windows, whose logits are averaged; "
            "--per_device_train_batch_size then still counts texts, of many windows each (default: as the tokenizer "
            "truncates, nearly always the head)",
            "choices": list(LONG_TEXTS),
        },
    )
    stride: int | None = field(
        default=None,
        metadata={"help": "windows: tokens that two neighbours share (default: a quarter of --max_length)"},
    )
    max_windows: int | None = field(
        default=None,
        metadata={"help": f"windows: most of a text, whose rest is not read (default: {MOST_WINDOWS})"},
    )
    normalize: list[str] | None = field(
        default=None,
        metadata={
            "help": "what of the texts is rewritten, by the saved tokenizer too: HTML's entities as their characters, "
            "urls as http, mentions as @user",
            "choices": list(NORMALIZED),
        },
    )
    validation_size: float = field(
        default=0.1, metadata={"help": "share of train to validate on, where there is no validation split"}
    )
    split_seed: int = field(default=42, metadata={"help": "seed of that split; the training has its own"})
    folds: int | None = field(
        default=None,
        metadata={"help": "cross-validate: split train into that many folds and validate on each in turn"},
    )
    refit: bool = field(
        default=False,
        metadata={
            "help": "with folds: in the end train one model on all rows, which predicts new texts in place of the "
            "folds; scores, predictions.csv and submission.csv stay those of the folds"
        },
    )
    decision: str = field(
        default="argmax",
        metadata={
            "help": "binary: whether submission.csv holds the likelier label, or decides by the F1-best threshold of "
            "the validation or out-of-fold rows",
            "choices": ["argmax", "threshold"],
        },
    )
    submission: str | None = field(
        default=None,
        metadata={
            "help": "what submission.csv holds (what the sample submission does)",
            "choices": ["labels", "probabilities"],
        },
    )

    title: ClassVar[str] = "data"
    # Rows given from Python, whatever `data.in_memory` takes; `dataset` then only names their kind.
    in_memory = cast(Any, None)

    def __post_init__(self) -> None:
        # A program may give a single name as it is, or the rows themselves.
        given = [self.dataset] if isinstance(self.dataset, str | PathLike) else self.dataset
        if isinstance(given, list | tuple) and given and all(isinstance(name, str | PathLike) for name in given):
            self.dataset = [str(name) for name in given]
        else:
            self.in_memory, self.dataset = given, [f"{PYTHON}{type(given).__name__}"]
        if isinstance(self.text_column, str):
            self.text_column = [self.text_column]
        if isinstance(self.label_column, str):
            self.label_column = [self.label_column]
        check_ranges(vars(self))
        if self.refit and self.folds is None:
            raise ValueError("--refit trains on all rows once cross-validation is done: give --folds too.")
        self.reading = Reading.of(vars(self))


@dataclass
class ModelArguments:
    """Which encoder to start from."""

    title: ClassVar[str] = "model"
    # The recipe whose choices these are, and whether it ends with a model.
    recipe: ClassVar[str] = ""
    saves_model: ClassVar[bool] = True

    model: str = field(
        default="embedded:minilm",
        metadata={
            "help": "a Hub id (owner/name@revision), a folder of a model or a run, embedded:minilm or embedded:mpnet"
        },
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "let the code run that the model brings, as a new architecture does"}
    )


@dataclass
class StockArguments(ModelArguments):
    """The stock model brings its own head and loss: there is nothing more to choose."""

    title: ClassVar[str] = "stock"
    recipe: ClassVar[str] = "stock"


@dataclass
class BaselineArguments(ModelArguments):
    """The baseline takes the configurations of the other recipes, and leaves what is about a network alone."""

    title: ClassVar[str] = "baseline"
    recipe: ClassVar[str] = "baseline"
    saves_model: ClassVar[bool] = False


@dataclass
class CustomArguments(ModelArguments):
    """The head and the loss over the plain encoder."""

    title: ClassVar[str] = "custom"
    recipe: ClassVar[str] = "custom"

    classifier: str | None = field(
        default=None,
        metadata={
            "help": "a classifier of your own as file.py:Name, made from the encoder's folder and the task, in place "
            "of pooling and head; columns of the data that its forward names are given to it"
        },
    )
    extra_columns: list[str] | None = field(
        default=None, metadata={"help": "columns of the data that --classifier takes (all that its forward names)"}
    )
    pooling: str = field(
        default="pooler",
        metadata={
            "help": f"how the hidden states become one vector: {', '.join(POOLING_NAMES)}, or your own as file.py:Name"
        },
    )
    head_layers: int = field(default=0, metadata={"help": "hidden layers between pooling and classifier"})
    head_size: int | None = field(default=None, metadata={"help": "their width (default: the encoder's hidden size)"})
    head_activation: str = field(default="gelu", metadata={"help": "their activation"})
    head_dropout: float | None = field(
        default=None, metadata={"help": "dropout in the head (default: the encoder's own)"}
    )
    dropout_samples: int = field(
        default=1,
        metadata={
            "help": "multi-sample dropout: number of masks over the classifier's input, whose losses are averaged"
        },
    )
    loss: str | None = field(
        default=None,
        metadata={
            "help": "cross_entropy, focal, r_drop; bce, focal, asymmetric for several labels; mse, huber for a "
            "regression; or your own as file.py:name (default: the first of the task's)"
        },
    )
    loss_options: list[str] | None = field(
        default=None, metadata={"help": "keyword arguments of the loss, as in gamma=1.5"}
    )
    class_weights: list[str] | None = field(
        default=None, metadata={"help": "'balanced', or one weight per class in the order of the class ids"}
    )
    pos_weight: list[str] | None = field(
        default=None, metadata={"help": "multi-label: 'balanced', or a weight for the positives of each label"}
    )
    freeze_embeddings: bool = field(default=False, metadata={"help": "freeze the embeddings"})
    freeze_layers: int = field(default=0, metadata={"help": "freeze the lowest N layers"})
    reinit_layers: int = field(default=0, metadata={"help": "reinitialise the top N layers"})
    layer_decay: float = field(
        default=1.0,
        metadata={"help": "layer-wise learning rate decay: each layer's rate as a share of that of the layer above"},
    )
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "learning rate of pooling, head and classifier (default: that of the encoder)"}
    )
    lora_rank: int | None = field(
        default=None, metadata={"help": "train low-rank matrices beside the frozen encoder (the extra 'lora')"}
    )
    lora_alpha: int = field(default=16, metadata={"help": "scale of these, over their rank"})

    def __post_init__(self) -> None:
        check_ranges(vars(self))
        if isinstance(self.extra_columns, str):
            self.extra_columns = [self.extra_columns]
        if self.extra_columns is not None and self.classifier is None:
            raise ValueError("--extra_columns are of a classifier of your own: give --classifier too.")
        if self.classifier is not None:
            of_the_head = {field.name: field.default for field in fields(CustomArguments) if field.name in OF_THE_HEAD}
            for name, default in of_the_head.items():
                if getattr(self, name) != default:
                    raise ValueError(f"--classifier brings its own pooling and head: leave out --{name}.")
        if self.head_layers == 0 and (self.head_size is not None or self.head_activation != "gelu"):
            raise ValueError("--head_size and --head_activation are of hidden layers: give --head_layers too.")
        if self.lora_rank is not None:
            for name in ("freeze_embeddings", "freeze_layers", "reinit_layers"):
                if getattr(self, name):
                    raise ValueError(f"--lora_rank freezes the whole encoder: leave out --{name}.")


@dataclass
class SearchArguments(CustomArguments):
    """The custom recipe's choices that stay as they are, and how many trials to make of the others."""

    title: ClassVar[str] = "search"
    recipe: ClassVar[str] = "search"
    saves_model: ClassVar[bool] = False

    trials: int = field(default=20, metadata={"help": "trials in all, those of an earlier start included"})


@dataclass
class AuditArguments(CustomArguments):
    """The custom recipe's choices, and what of an audit is to be made."""

    title: ClassVar[str] = "audit"
    recipe: ClassVar[str] = "audit"
    saves_model: ClassVar[bool] = False

    quick: bool = field(default=False, metadata={"help": "ask the baseline alone, and train no recipe"})
    repeats: int = field(default=3, metadata={"help": "times that the baseline's folds are cut anew"})


# The recipes by name.
RECIPES: dict[str, type[ModelArguments]] = {
    part.recipe: part for part in (StockArguments, CustomArguments, BaselineArguments, SearchArguments, AuditArguments)
}
