"""Step a: the plain model and a linear layer, as an `nn.Module` of your own.

    python recipes/examples/a_linear_layer.py
    python recipes/examples/a_linear_layer.py --dataset my.csv --num_train_epochs 1

What the stock classifier hides is ten lines: an encoder, one vector per text, a linear layer. `forward` takes no
labels and returns logits; the loss is a function beside the model.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from datasets import DatasetDict
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, set_seed
from transformers.modeling_outputs import SequenceClassifierOutput

from bert_recipes.cli.main import run_main
from bert_recipes.config.arguments import ModelArguments
from bert_recipes.config.parsing import parse_arguments
from bert_recipes.data.loading import load_data
from bert_recipes.data.tokenization import tokenize
from bert_recipes.errors import UserError
from bert_recipes.modeling.losses import Loss, cross_entropy
from bert_recipes.modeling.pretrained import resolve_model
from bert_recipes.task import SINGLE_LABEL
from bert_recipes.terminal import say
from bert_recipes.training.trainer import PerExampleTrainer


class LinearOnCls(nn.Module):
    """An encoder, the hidden state of `[CLS]`, and a linear layer.

    Args:
        source: the pretrained encoder's folder.
        num_labels: number of labels.
    """

    def __init__(self, source: str, num_labels: int):
        super().__init__()
        # The trainer reads the number of labels and the task from `config`.
        self.encoder = AutoModel.from_pretrained(
            source, use_safetensors=True, num_labels=num_labels, problem_type="single_label_classification"
        )
        # Weights that get no gradient would make several processes wait for one.
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None
        self.config = self.encoder.config
        self.classifier = nn.Linear(self.size(), num_labels)

    def size(self) -> int:
        """Return the size of the vector that `pool` makes."""
        return self.config.hidden_size

    def pool(self, output: Any, attention_mask: Tensor) -> Tensor:
        """Return one vector per text, `[batch, size]`: here the first token's."""
        return output.last_hidden_state[:, 0]

    def encode(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Return what `pool` makes of ids and mask `[batch, length]`."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types)
        return self.pool(output, attention_mask)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Return logits `[batch, num_labels]` for ids and mask `[batch, length]`."""
        return SequenceClassifierOutput(logits=self.classifier(self.encode(input_ids, attention_mask, token_type_ids)))


def train(
    model_class: Callable[..., nn.Module],
    loss: Loss = cross_entropy,
    *,
    doc: str | None,
    name: str,
    prepare: Callable[[DatasetDict], tuple[DatasetDict, dict[str, Any]]] | None = None,
) -> None:
    """Train `model_class` with the flags of the command line and print its scores on the validation split.

    Args:
        model_class: called with the encoder's folder and the number of labels.
        loss: `(logits, labels) -> per-example losses`.
        doc: the script's docstring, for `--help`.
        name: of the run; its output goes to `runs/<name>`.
        prepare: called with the tokenized splits; returns them with what the model takes beside the text, and the
            model class with what it needs for it.
    """
    args = parse_arguments(ModelArguments, doc, name)
    data = load_data(args.data)
    if data.task.problem_type != SINGLE_LABEL or args.training.label_smoothing_factor or args.training.push_to_hub:
        raise UserError(
            "this example gives each row one label, and neither smooths labels nor pushes: recipes/custom.py does."
        )
    source = resolve_model(args.model.model)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenized = tokenize(data.splits, tokenizer, args.data.max_length, source, reading=args.data.reading)
    if prepare is not None:
        tokenized, options = prepare(tokenized)
        model_class = partial(model_class, **options)

    set_seed(args.training.seed)
    trainer = PerExampleTrainer(
        model_class(source, len(data.task.label_names)),
        args.training,
        train_dataset=tokenized["train"],
        eval_dataset=tokenized["validation"],
        processing_class=tokenizer,
        loss=loss,
    )
    trainer.train()
    scores = trainer.predict(tokenized["validation"], metric_key_prefix="validation").metrics or {}
    say(f"{name}: validation accuracy {scores['validation_accuracy']:.4f}, F1 {scores['validation_f1']:.4f}")


if __name__ == "__main__":
    run_main(partial(train, LinearOnCls, doc=__doc__, name="a-linear-layer"))
