"""The plain encoder under a head of our own, as a `PreTrainedModel` that saves, loads and runs in a pipeline.

This file and `pooling.py` travel with every saved model, so that it loads where this project is not installed, with
`trust_remote_code=True`: they may import nothing else of this project.
"""

import inspect
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.dynamic_module_utils import custom_object_save, get_class_from_dynamic_module
from transformers.modeling_outputs import SequenceClassifierOutput

from .pooling import POOLINGS

# Whether the model being loaded may run the code that it carries.
_TRUSTED = ContextVar("trusted", default=False)


class EncoderClassifierConfig(PretrainedConfig):
    """What `EncoderClassifier` needs to rebuild itself: the encoder's own configuration, the pooling and the head.

    Args:
        encoder: the encoder's configuration, or the dict that its `to_dict()` gives.
        pooling: a name from `POOLINGS`, or `file.py:Name` of a file that stands in the model's folder.
        pooled_size: size of what the pooling returns; by default the encoder's hidden size.
        head_layers: hidden layers between the pooling and the classifier.
        head_size: their width; by default the encoder's hidden size.
        head_activation: after each of them, a name from `transformers.activations.ACT2FN`.
        head_dropout: before each linear layer of the head; by default the encoder's own for a classifier.
        dropout_samples: dropout masks over the classifier's input (multi-sample dropout, arXiv:1905.09788).
        carries_encoder: whether the encoder is of an architecture whose code stands in the model's folder; its
            configuration then stays a dict until that code may run.
    """

    model_type = "encoder_classifier"

    def __init__(
        self,
        encoder: PretrainedConfig | dict[str, Any] | None = None,
        pooling: str = "pooler",
        pooled_size: int | None = None,
        head_layers: int = 0,
        head_size: int | None = None,
        head_activation: str = "gelu",
        head_dropout: float | None = None,
        dropout_samples: int = 1,
        carries_encoder: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(encoder, dict) and not carries_encoder:
            encoder = AutoConfig.for_model(**encoder)
        self.encoder: Any = encoder
        self.pooling = pooling
        self.pooled_size = pooled_size
        self.head_layers = head_layers
        self.head_size = head_size
        self.head_activation = head_activation
        self.head_dropout = head_dropout
        self.dropout_samples = dropout_samples
        self.carries_encoder = carries_encoder

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain values, the encoder's included."""
        values = super().to_dict()
        if isinstance(self.encoder, PretrainedConfig):
            values["encoder"] = self.encoder.to_dict()
        return values


class EncoderClassifier(PreTrainedModel):
    """An encoder, a pooling, a head and a linear classifier. `forward` takes no labels and returns logits.

    Args:
        config: of the whole.

    Raises:
        ValueError: the pooling or the encoder is code that the model carries, and nobody said that it may run.
    """

    config: EncoderClassifierConfig
    config_class = EncoderClassifierConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    encoder: Any  # a PreTrainedModel, or one that peft has wrapped

    def __init__(self, config: EncoderClassifierConfig):
        super().__init__(config)
        config.encoder = _encoder_config(config)
        # The precision that is asked for now, whatever the encoder's own configuration was saved with.
        encoder = AutoModel.from_config(
            config.encoder, dtype=torch.get_default_dtype(), trust_remote_code=config.carries_encoder
        )
        self._assemble(encoder, _pooling_class(config)(config.encoder))
        self.post_init()

    def _assemble(self, encoder: PreTrainedModel, pooling: nn.Module) -> None:
        config = self.config
        if config.pooling != "pooler":
            leave_out_pooler(encoder)
        self.encoder = encoder
        self._no_split_modules = encoder._no_split_modules  # what FSDP shards one by one
        self.pooling = pooling
        size, dropout = config.pooled_size or config.encoder.hidden_size, _head_dropout(config)
        hidden: list[nn.Module] = []
        for _ in range(config.head_layers):
            width = config.head_size or config.encoder.hidden_size
            hidden += [nn.Dropout(dropout), nn.Linear(size, width), ACT2FN[config.head_activation]]
            size = width
        self.head = nn.Sequential(*hidden)
        self.dropout = nn.Dropout(dropout)
        # skip_init: one draw, as in the stock model, where nn.Linear's own would advance the generator before it.
        self.classifier = nn.utils.skip_init(nn.Linear, size, config.num_labels)

    @classmethod
    def from_encoder(
        cls, encoder: PreTrainedModel, config: EncoderClassifierConfig, pooling: nn.Module
    ) -> "EncoderClassifier":
        """Put a pooling and a new head on a pretrained encoder.

        The linear layers of the head start as the stock model's classifier does: normal with the encoder's
        `initializer_range`, biases zero.
        """
        model = cls.__new__(cls)
        PreTrainedModel.__init__(model, config)
        model._assemble(encoder, pooling)
        for layer in (*model.head, model.classifier):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=getattr(encoder.config, "initializer_range", 0.02))
                nn.init.zeros_(layer.bias)
        return model

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, trust_remote_code: bool | None = None, **kwargs: Any
    ) -> Any:
        """As `PreTrainedModel.from_pretrained`; with `trust_remote_code=True` code that the model carries may run."""
        # Loaded from the model's own copy of this file, that has been said already.
        token = _TRUSTED.set(bool(trust_remote_code) or __name__.startswith("transformers_modules."))
        try:
            return super().from_pretrained(
                pretrained_model_name_or_path, *args, trust_remote_code=trust_remote_code, **kwargs
            )
        finally:
            _TRUSTED.reset(token)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As `PreTrainedModel.save_pretrained`, with the code of pooling and encoder where the model carries it."""
        saves = kwargs.get("is_main_process", True)
        if self.config.carries_encoder and saves:
            Path(save_directory).mkdir(parents=True, exist_ok=True)
            # LoRA wraps the encoder.
            plain = self.encoder.get_base_model() if hasattr(self.encoder, "get_base_model") else self.encoder
            for part in (self.config.encoder, plain):
                if type(part).__module__.startswith("transformers_modules."):
                    # The encoder's configuration then says which class of the file it needs.
                    custom_object_save(part, save_directory, config=self.config.encoder)
        super().save_pretrained(save_directory, *args, **kwargs)
        if self.config.pooling not in POOLINGS and saves:
            module = sys.modules[type(self.pooling).__module__]
            # As it was when it was loaded: the file may have changed since.
            source = getattr(module, "__source__", None) or Path(inspect.getfile(module)).read_text(encoding="utf-8")
            carried = Path(save_directory) / f"{self.config.pooling.partition('.py:')[0]}.py"
            carried.write_text(source, encoding="utf-8")

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Return `SequenceClassifierOutput` with logits `[batch, num_labels]` for ids and mask `[batch, length]`.

        While training with several dropout samples, the logits are `[batch, dropout_samples, num_labels]`.
        """
        if attention_mask is None:
            attention_mask = input_ids.new_ones(input_ids.shape)
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        # DistilBERT takes none, and RoBERTa has an embedding for a single type.
        if token_type_ids is not None and (getattr(self.config.encoder, "type_vocab_size", None) or 0) > 1:
            inputs["token_type_ids"] = token_type_ids
        if getattr(self.pooling, "all_layers", False):
            inputs["output_hidden_states"] = True
        pooled = self.head(self.pooling(self.encoder(**inputs), attention_mask))
        if self.training and self.config.dropout_samples > 1:
            samples = [self.classifier(self.dropout(pooled)) for _ in range(self.config.dropout_samples)]
            logits: Any = torch.stack(samples, dim=1)
        else:
            logits = self.classifier(self.dropout(pooled))
        return SequenceClassifierOutput(logits=logits)


class _LeftOut(nn.Module):
    """What stands where a pooler was; it has no weights, and hands on what it gets."""

    def forward(self, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        return hidden_states


def leave_out_pooler(encoder: PreTrainedModel) -> None:
    """Take the pooler out of an encoder, where it has one: weights that get no gradient make DDP wait for one."""
    if getattr(encoder, "pooler", None) is not None:
        # An encoder that can be made without a pooler does without; the code of others, such as SqueezeBERT, calls it.
        optional = "add_pooling_layer" in inspect.signature(type(encoder).__init__).parameters
        encoder.register_module("pooler", None if optional else _LeftOut())


def _pooling_class(config: EncoderClassifierConfig) -> type[nn.Module]:
    if config.pooling in POOLINGS:
        return POOLINGS[config.pooling]
    file, _, name = config.pooling.partition(".py:")
    _check_trusted("pooling", f"{name} in {file}.py", config)
    return get_class_from_dynamic_module(f"{file}.{name}", config._name_or_path)


def _encoder_config(config: EncoderClassifierConfig) -> PretrainedConfig:
    """Return the encoder's configuration, made by code that the model carries where it is still a dict."""
    if not isinstance(config.encoder, dict):
        return config.encoder
    classes = config.encoder["auto_map"]
    _check_trusted("encoder", classes["AutoModel"], config)
    if "AutoConfig" in classes:
        config_class: Any = get_class_from_dynamic_module(classes["AutoConfig"], config._name_or_path)
        config_class.register_for_auto_class()
        encoder = config_class.from_dict(config.encoder)
    else:
        encoder = AutoConfig.for_model(**config.encoder)
    encoder._name_or_path = config._name_or_path  # where AutoModel looks for the model's class
    return encoder


def _check_trusted(part: str, code: str, config: EncoderClassifierConfig) -> None:
    if not _TRUSTED.get():
        raise ValueError(
            f"the {part} of this model is code that it carries, {code} of {config._name_or_path}: read it, and load "
            "the model with trust_remote_code=True to let it run."
        )


def _head_dropout(config: EncoderClassifierConfig) -> float:
    """Return the dropout that was asked for, or the one that the stock model of this encoder has in its head."""
    if config.head_dropout is not None:
        return config.head_dropout
    encoder = config.encoder
    # classifier_dropout_prob is ALBERT's, seq_classif_dropout DistilBERT's, cls_dropout DeBERTa's.
    names = ("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "cls_dropout")
    for name in (*names, "hidden_dropout_prob"):
        if getattr(encoder, name, None) is not None:
            return getattr(encoder, name)
    return 0.1


EncoderClassifierConfig.register_for_auto_class()
EncoderClassifier.register_for_auto_class("AutoModelForSequenceClassification")
