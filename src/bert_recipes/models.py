"""The plain encoder under a head of our own, as a `PreTrainedModel` that saves, loads and runs in a pipeline."""

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from bert_recipes.errors import UserError
from bert_recipes.pooling import POOLINGS


class EncoderClassifierConfig(PretrainedConfig):
    """What `EncoderClassifier` needs to rebuild itself: the encoder's own configuration, the pooling and the head.

    Args:
        encoder: the encoder's configuration, or the dict that its `to_dict()` gives.
        pooling: a name from `bert_recipes.pooling.POOLINGS`.
        head_dropout: dropout before the linear layer; by default the encoder's own for a classifier.
    """

    model_type = "encoder_classifier"

    def __init__(self, encoder=None, pooling="pooler", head_dropout=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(encoder, dict):
            encoder = AutoConfig.for_model(**encoder)
        self.encoder = encoder
        self.pooling = pooling
        self.head_dropout = head_dropout

    def to_dict(self):
        """Return the configuration as plain values, the encoder's included."""
        values = super().to_dict()
        if self.encoder is not None:
            values["encoder"] = self.encoder.to_dict()
        return values


class EncoderClassifier(PreTrainedModel):
    """An encoder, a pooling, dropout and a linear layer. `forward` takes no labels and returns logits."""

    config_class = EncoderClassifierConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: EncoderClassifierConfig):
        super().__init__(config)
        self.encoder = _without_idle_pooler(AutoModel.from_config(config.encoder), config.pooling)
        self.dropout = nn.Dropout(_head_dropout(config))
        self.classifier = nn.Linear(config.encoder.hidden_size, config.num_labels)
        self.post_init()

    @classmethod
    def from_encoder(cls, path: str, *, pooling: str = "pooler", **kwargs) -> "EncoderClassifier":
        """Put a new head on a pretrained encoder.

        Args:
            path: a Hub id or a folder, as `AutoModel.from_pretrained` takes it.
            pooling: a name from `bert_recipes.pooling.POOLINGS`.
            kwargs: for the configuration: `id2label`, `label2id`, `head_dropout`.

        Raises:
            UserError: the encoder has no pooler and `pooling` is `pooler`.
        """
        encoder = AutoModel.from_pretrained(path)
        if pooling == "pooler" and getattr(encoder, "pooler", None) is None:
            others = ", ".join(name for name in POOLINGS if name != "pooler")
            raise UserError(
                f"{type(encoder).__name__} of '{path}' has no pooler: take --pooling with one of {others}."
            )
        kwargs.setdefault("pad_token_id", encoder.config.pad_token_id)
        config = EncoderClassifierConfig(encoder=encoder.config, pooling=pooling, **kwargs)
        model = cls.__new__(cls)
        PreTrainedModel.__init__(model, config)
        model.encoder = _without_idle_pooler(encoder, pooling)
        model.dropout = nn.Dropout(_head_dropout(config))
        # One draw, as in the stock model: nn.Linear's own initialisation would advance the generator before it.
        model.classifier = nn.utils.skip_init(nn.Linear, encoder.config.hidden_size, config.num_labels)
        nn.init.normal_(model.classifier.weight, std=getattr(encoder.config, "initializer_range", 0.02))
        nn.init.zeros_(model.classifier.bias)
        return model

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None):
        """Return `SequenceClassifierOutput` with logits `[batch, num_labels]` for ids and mask `[batch, length]`."""
        if attention_mask is None:
            attention_mask = input_ids.new_ones(input_ids.shape)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        pooled = POOLINGS[self.config.pooling](self.encoder(**inputs), attention_mask)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(pooled)))


def _without_idle_pooler(encoder: PreTrainedModel, pooling: str) -> PreTrainedModel:
    # Weights that get no gradient would make DDP wait for one.
    if pooling != "pooler" and getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder


def _head_dropout(config: EncoderClassifierConfig) -> float:
    if config.head_dropout is not None:
        return config.head_dropout
    of_classifier = getattr(config.encoder, "classifier_dropout", None)
    return of_classifier if of_classifier is not None else getattr(config.encoder, "hidden_dropout_prob", 0.1)


AutoConfig.register("encoder_classifier", EncoderClassifierConfig)
AutoModelForSequenceClassification.register(EncoderClassifierConfig, EncoderClassifier)
