"""A classifier that a user defines, as a `PreTrainedModel` that saves, loads and runs in a pipeline.

This file and the user's own travel with every model that `--classifier` made, so that it loads where this project is
not installed, with `trust_remote_code=True`: it may import nothing of this project.
"""

import bisect
import contextlib
import inspect
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import cached_file, logging

WEIGHTS = "model.safetensors"
# How a file is found, of the options of `from_pretrained`.
OF_THE_HUB = ("cache_dir", "force_download", "local_files_only", "token", "revision")
# Those that would change what is loaded, and that this class cannot honour.
NOT_HERE = ("device_map", "max_memory", "quantization_config", "state_dict", "tp_plan", "tp_size", "gguf_file")


class OwnClassifierConfig(PretrainedConfig):
    """What `OwnClassifier` needs to rebuild itself: the encoder's own configuration, the class, the columns.

    Args:
        encoder: the encoder's configuration, or the dict that its `to_dict()` gives.
        classifier: `file.py:Name` of a file that stands in the model's folder.
        task_name: `binary`, `multi-class`, `multi-label` or `regression`.
        columns: what train taught of each column that the model takes beside the text: the sorted `categories` of a
            column of texts, or the `mean` of a column of numbers.
    """

    model_type = "own_classifier"

    def __init__(
        self,
        encoder: PretrainedConfig | dict[str, Any] | None = None,
        classifier: str = "",
        task_name: str = "",
        columns: dict[str, dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder: Any = AutoConfig.for_model(**encoder) if isinstance(encoder, dict) else encoder
        self.classifier = classifier
        self.task_name = task_name
        self.columns = columns or {}

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain values, the encoder's included."""
        values = super().to_dict()
        if isinstance(self.encoder, PretrainedConfig):
            values["encoder"] = self.encoder.to_dict()
        return values

    def encode_columns(self, cells: Mapping[str, Sequence[Any]]) -> dict[str, Tensor]:
        """Return what the model takes of its columns, one tensor `[batch]` for each.

        A text becomes the number of its category, from 1, in int64; 0 stands for None and for a text that train does
        not have. A number stays what it is, in float32; for None the mean of train is taken.

        Args:
            cells: of each column, `[batch]`: texts, or numbers, or None.

        Raises:
            KeyError: a column is missing.
        """
        return {name: _encoded(cells[name], known) for name, known in self.columns.items()}


def _encoded(cells: Sequence[Any], known: dict[str, Any]) -> Tensor:
    if "mean" in known:
        numbers = [known["mean"] if cell is None or cell != cell else float(cell) for cell in cells]
        return torch.tensor(numbers, dtype=torch.float32)
    categories = known["categories"]
    places = [len(categories) if cell is None else bisect.bisect_left(categories, cell) for cell in cells]
    found = [place < len(categories) and categories[place] == cell for place, cell in zip(places, cells, strict=True)]
    return torch.tensor([place + 1 if there else 0 for place, there in zip(places, found, strict=True)])


class OwnClassifier(PreTrainedModel):
    """A user's classifier. `forward` takes tokens and columns, no labels, and returns logits.

    Attributes:
        unused: names of weights that have no part in the logits, where that is known.

    Args:
        config: of the whole.
        own: the user's classifier; it is kept in float32.
    """

    config: OwnClassifierConfig
    config_class = OwnClassifierConfig
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: OwnClassifierConfig, own: nn.Module):
        super().__init__(config)
        self.own = own.float()
        self.unused: list[str] = []
        parameters = inspect.signature(own.forward).parameters
        self.takes = {*parameters}
        self.takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        self.all_tied_weights_keys: dict[str, str] = {}
        self._same = _same_tensors(self)
        self._keys_to_ignore_on_save = [*self._same]
        self._no_split_modules = getattr(self.encoder, "_no_split_modules", None)  # what FSDP shards one by one

    @property
    def waits_for_gradients(self) -> bool:
        """Whether some of its weights are to be trained and have no part in the logits."""
        return any(weight.requires_grad for name, weight in self.named_parameters() if name in self.unused)

    @property
    def encoder(self) -> PreTrainedModel | None:
        """The pretrained encoder, where the user's class calls it so."""
        found = getattr(self.own, "encoder", None)
        return found if isinstance(found, PreTrainedModel) else None

    def _init_weights(self, module: nn.Module) -> None:
        """Leave weights as the user's class has begun them."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **columns: Tensor,
    ) -> SequenceClassifierOutput:
        """Return `SequenceClassifierOutput` with logits `[batch, num_labels]`.

        Args:
            input_ids: `[batch, length]`.
            attention_mask: likewise; by default there is no padding.
            token_type_ids: likewise.
            columns: what `config.encode_columns` gives, `[batch]` each.

        Raises:
            TypeError: a column is missing, or is none of the model's.
        """
        names = self.config.columns.keys()
        if names != columns.keys():
            needs = " and ".join(names) or "no columns"
            raise TypeError(
                f"this model takes {needs} beside the text, and got {' and '.join(columns) or 'none'}: "
                "model.config.encode_columns makes tensors of their cells."
            )
        if attention_mask is None:
            attention_mask = input_ids.new_ones(input_ids.shape)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        # RoBERTa has an embedding for a single type.
        if token_type_ids is not None and (getattr(self.config.encoder, "type_vocab_size", None) or 0) > 1:
            inputs["token_type_ids"] = token_type_ids
        given = {name: value for name, value in inputs.items() if self.takes_all or name in self.takes}
        for name, value in columns.items():
            given[name] = value.to(self.dtype) if value.is_floating_point() else value
        output = self.own(**given)
        return SequenceClassifierOutput(logits=getattr(output, "logits", output))

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As `PreTrainedModel.save_pretrained`, in one file of weights, with the user's own code."""
        options: dict[str, Any] = {"max_shard_size": "100TB", "save_original_format": False}
        super().save_pretrained(save_directory, *args, **(kwargs | options))
        if kwargs.get("is_main_process", True):
            module = sys.modules[type(self.own).__module__]
            # As it was when it was loaded: the file may have changed since.
            source = getattr(module, "__source__", None) or Path(inspect.getfile(module)).read_text(encoding="utf-8")
            carried = Path(save_directory) / f"{self.config.classifier.partition('.py:')[0]}.py"
            carried.write_text(source, encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Any,
        *args: Any,
        config: Any = None,
        trust_remote_code: bool | None = None,
        dtype: Any = None,
        attn_implementation: str | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return a saved classifier: the user's class made anew, with the weights that were saved.

        Args:
            pretrained_model_name_or_path: its folder, or its name on the Hub.
            args: none.
            config: its configuration.
            trust_remote_code: whether the user's code that it carries may run.
            dtype: of the weights; by default, and as "auto", float32.
            attn_implementation: of the encoder.
            output_loading_info: whether to return the info that `PreTrainedModel.from_pretrained` gives too.
            kwargs: how files are found on the Hub.

        Raises:
            ValueError: its code may not run, or something is asked for that this class cannot honour.
            RuntimeError: its weights do not fit its class.
        """
        name = str(pretrained_model_name_or_path)
        if refused := [option for option in NOT_HERE if kwargs.get(option) is not None]:
            raise ValueError(f"a classifier of one's own is loaded without {refused[0]}: load it, and move it then.")
        hub = {option: kwargs[option] for option in OF_THE_HUB if kwargs.get(option) is not None}
        if not isinstance(config, PretrainedConfig):
            config = cls.config_class.from_pretrained(name, **hub)
        # Loaded from the model's own copy of this file, it has been said already that code may run.
        if not (trust_remote_code or __name__.startswith("transformers_modules.")):
            raise ValueError(
                f"this model is code that it carries, {config.classifier} of {name}: read it, and load the model with "
                "trust_remote_code=True to let it run."
            )
        file, _, class_name = config.classifier.partition(".py:")
        found = get_class_from_dynamic_module(f"{file}.{class_name}", name, **hub)
        with without_weights(config.encoder) as folder:
            model = cls(config, make(found, folder, config))
        saved = load_file(str(cached_file(name, WEIGHTS, **hub)))
        model.load_state_dict(saved | {other: saved[first] for other, first in model._same.items()})
        if isinstance(dtype, torch.dtype):
            nn.Module.to(model, dtype)
        if attn_implementation:
            model.set_attn_implementation(attn_implementation)
        kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
        info: dict[str, Any] = {kind: set() for kind in kinds} | {"error_msgs": []}
        return (model.eval(), info) if output_loading_info else model.eval()


def make(found: Any, folder: str, config: OwnClassifierConfig) -> nn.Module:
    """Return what a user's class makes of an encoder's folder, the task and, where it asks for them, the columns.

    The task has `name`, `label_names`, `problem_type`, `num_labels`, `id2label` and `label2id`; of the columns it is
    told how many numbers `encode_columns` may give, 0 included, or None where a column holds numbers as they are.
    """
    names: dict[Any, str] = config.id2label or {}
    task = SimpleNamespace(
        name=config.task_name,
        label_names=[names[i] for i in range(len(names))],
        problem_type=config.problem_type,
        num_labels=config.num_labels,
        id2label=config.id2label,
        label2id=config.label2id,
    )
    if "columns" not in inspect.signature(found).parameters:
        return found(folder, task)
    counts = {
        name: len(known["categories"]) + 1 if "categories" in known else None for name, known in config.columns.items()
    }
    return found(folder, task, columns=counts)


@contextlib.contextmanager
def without_weights(config: PretrainedConfig) -> Iterator[str]:
    """Yield the folder of an encoder that `from_pretrained` makes with random weights, for others to take their place.

    Args:
        config: of the encoder.
    """
    verbosity, with_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        save_file({}, f"{folder}/{WEIGHTS}", metadata={"format": "pt"})
        logging.set_verbosity_error()  # every weight is missing, which would be listed
        logging.disable_progress_bar()
        try:
            yield folder
        finally:
            logging.set_verbosity(verbosity)
            if with_bars:
                logging.enable_progress_bar()


def _same_tensors(model: nn.Module) -> dict[str, str]:
    """Return the names of weights that are others under a second name, as tied embeddings are, and those others'."""
    first: dict[int, str] = {}
    same = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if first.setdefault(id(tensor), name) != name:
            same[name] = first[id(tensor)]
    return same


OwnClassifierConfig.register_for_auto_class()
OwnClassifier.register_for_auto_class("AutoModelForSequenceClassification")
