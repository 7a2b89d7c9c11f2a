"""BERT without padding: the tokens of a batch end to end, and attention that knows where each text ends.

On a GPU attention is `scaled_dot_product_attention` over nested tensors, which takes FlashAttention's kernel for texts
of several lengths; on a CPU it goes text by text.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nested import nested_tensor_from_jagged
from transformers import AttentionInterface

from bert_recipes.columns import LABELS
from bert_recipes.inference.predictor import Predictor
from bert_recipes.modeling import cpu_kernels
from bert_recipes.training.trainer import RecipeTrainer


class Packer:
    """Collates texts `[1, tokens of all]`, where `DataCollatorWithPadding` makes them `[texts, longest]`."""

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what `pack` does, and the labels `[texts]`."""
        packed = pack([np.asarray(row["input_ids"]) for row in rows])
        return packed | {LABELS: torch.tensor([row[LABELS] for row in rows])}


def pack(texts: list[np.ndarray]) -> dict[str, Any]:
    """Return the tokens of texts end to end, `[1, tokens]`, their positions, their sizes, and where each begins.

    The sizes are a list, which stays in the processor's memory, so that no one has to wait for a GPU to know them.
    """
    sizes = np.array([len(text) for text in texts])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    positions = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    arrays = {"input_ids": np.concatenate(texts)[None], "position_ids": positions[None], "offsets": offsets}
    return {name: torch.from_numpy(array) for name, array in arrays.items()} | {"sizes": sizes.tolist()}


def logits_of_packed(model: Any, packed: dict[str, Any]) -> Tensor:
    """Return the logits `[texts, num_labels]` that `BertForSequenceClassification` has for packed texts."""
    taken = {name: packed[name] for name in ("input_ids", "position_ids", "offsets", "sizes")}
    hidden = model.bert(**taken).last_hidden_state[0]
    return model.classifier(model.dropout(model.bert.pooler(hidden[packed["offsets"][:-1], None])))


def attend_text_by_text(module, query, key, value, attention_mask, scaling=None, dropout=0.0, sizes=None, **kwargs):
    """Return attention over packed texts, `[1, tokens, heads, size of a head]`, as a loop over them."""
    texts = zip(*(tensor.split(sizes, dim=2) for tensor in (query, key, value)), strict=True)
    parts = [cpu_kernels.attention(module, *text, None, scaling=scaling, dropout=dropout)[0] for text in texts]
    return torch.cat(parts, dim=1), None


def attend_nested(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, sizes=None, offsets=None, **kwargs
):
    """Return attention over packed texts, `[1, tokens, heads, size of a head]`, by one kernel for all."""
    shortest, longest = min(sizes), max(sizes)
    nested = (
        nested_tensor_from_jagged(
            tensor[0].transpose(0, 1).contiguous(), offsets, min_seqlen=shortest, max_seqlen=longest
        ).transpose(1, 2)
        for tensor in (query, key, value)
    )
    out = nn.functional.scaled_dot_product_attention(
        *nested, dropout_p=dropout if module.training else 0.0, scale=scaling
    )
    return out.transpose(1, 2).values()[None], None


AttentionInterface.register("text_by_text", attend_text_by_text)
AttentionInterface.register("nested", attend_nested)


def use_unpadded_attention(model: Any, device: torch.device) -> None:
    """Let the model attend over packed texts, on the device that it is to run on."""
    model.set_attn_implementation("text_by_text" if device.type == "cpu" else "nested")


class UnpaddedPredictor(Predictor):
    """Predict with BERT without padding."""

    def __init__(self, *args):
        super().__init__(*args)
        use_unpadded_attention(self.model, self.model.device)

    @torch.inference_mode()
    def _forward(self, inputs):
        real = inputs["attention_mask"].astype(bool)
        packed = pack([ids[kept] for ids, kept in zip(inputs["input_ids"], real, strict=True)])
        packed |= {name: part.to(self.model.device) for name, part in packed.items() if name != "sizes"}
        return logits_of_packed(self.model, packed).float().cpu().numpy()


class UnpaddedTrainer(RecipeTrainer):
    """Train BERT without padding."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.data_collator = Packer()
        use_unpadded_attention(self.model, self.args.device)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return this micro-batch's part of the step's loss."""
        # The model's own forward, which accelerate puts under autocast, is not called.
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=bool(self.args.bf16)):
            logits = logits_of_packed(model, inputs)
        losses = self.losses_of(logits.float(), inputs[LABELS])
        return self._share(losses.sum(), num_items_in_batch)
