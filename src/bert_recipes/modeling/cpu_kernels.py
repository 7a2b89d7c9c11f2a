"""What is quicker on a CPU: dropout masks in 16-bit integers, attention with them or over short texts, and embeddings.

Each is measured by `make bench` and told in docs/performance.md.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "sdpa_or_products"
# Up to this length plain matrix products are quicker than the blocks of the fused kernel, in half precision.
SHORT = 128


def keep_mask(like: Tensor, p: float) -> Tensor:
    """Return a tensor like `like` that holds 0 with probability `p` and else 1 / (1 - p).

    `torch.bernoulli` draws on one thread, 9 ns an element, which is an eighth of a step on two cores. Here one draw
    of 64 bits decides four elements, so `p` is rounded to a multiple of 2**-16. What follows is in integers of 16
    bits, since torch compares into booleans, and converts these, one by one.
    """
    if torch.compiler.is_compiling():
        # Compiled, torch's own is quick, and 64 bits seen as four times 16 do not compile.
        return nn.functional.dropout(torch.ones_like(like), p)
    sixteen_bits = round(p * 2**16)
    if sixteen_bits == 2**16:
        return torch.zeros_like(like)
    bits = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = bits[: like.numel()].view(like.shape).ge_(sixteen_bits - 2**15)
    scale = torch.tensor(1 / (1 - p), dtype=like.dtype)
    if like.element_size() == 2:
        return kept.mul_(scale.view(torch.int16).item()).view(like.dtype)
    return kept.to(like.dtype).mul_(scale.item())


class QuickDropout(nn.Dropout):
    """`nn.Dropout` for the CPU, whose mask `keep_mask` draws."""

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` of any shape with elements dropped while training, and as it is otherwise."""
        if not self.training or not self.p:
            return input
        return input * keep_mask(input, self.p)


class QuickEmbedding(nn.Embedding):
    """`nn.Embedding` for the CPU, whose gradient is made in the same memory in every step.

    The gradient of a vocabulary is larger than all else that a step asks memory for. A fresh one costs thousands of
    page faults; this one is only cleared. So a gradient that is to outlive the next step's must be cloned.
    """

    kept: Tensor | None = None

    @classmethod
    def take_over(cls, embedding: nn.Embedding) -> None:
        """Make `embedding` one of these; its weight, its hooks and who holds it stay."""
        embedding.__class__ = cls
        embedding.weight.register_post_accumulate_grad_hook(_arrived)

    def forward(self, input: Tensor) -> Tensor:
        """Return the embeddings of ids of any shape, with one dimension more."""
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(input)
        return _Embed.apply(self.weight, input, self)

    def gradient(self, ids: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient of the weight, given that of the embeddings of `ids`."""
        weight = self.weight
        padding = -1 if self.padding_idx is None else self.padding_idx
        # One that is on its way to the weight must not be cleared by another one of the same backward pass.
        if getattr(weight, "on_its_way", False) or weight.grad is not None or torch.is_grad_enabled():
            return torch.ops.aten.embedding_dense_backward(gradient, ids, self.num_embeddings, padding, False)
        weight.on_its_way = True  # type: ignore[attr-defined]
        if self.kept is None or self.kept.shape != weight.shape or self.kept.dtype != weight.dtype:
            self.kept = torch.empty_like(weight)
        self.kept.zero_().index_add_(0, ids.flatten(), gradient.reshape(-1, self.embedding_dim))
        if padding >= 0:
            self.kept[padding] = 0
        # A tensor of its own, which autograd makes the weight's gradient without a copy.
        return self.kept.detach()


def _arrived(weight: Tensor) -> None:
    # Not a method: autograd's hooks hide what they hold from the garbage collector.
    weight.on_its_way = False  # type: ignore[attr-defined]


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, embedding: QuickEmbedding) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.embedding = embedding
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.embedding.gradient(*ctx.saved_tensors, *gradients), None, None


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of `[batch, heads, length, size]`, returned as `[batch, length, heads, size]`, and None for weights.

    torch has no fused kernel for attention with dropout on a CPU: its fallback computes in float32 and draws the
    mask by `torch.bernoulli`. Here the products are taken in the precision of the query, as the eager attention of
    transformers takes them; so too without dropout over texts of up to `SHORT` tokens in half precision. Whatever
    else than that and plain bidirectional attention goes to SDPA.
    """
    causal = is_causal or (is_causal is None and getattr(module, "is_causal", False))
    plain = kwargs.get("position_bias") is None and kwargs.get("softcap") is None and query.shape[1] == key.shape[1]
    short = key.shape[2] <= SHORT and query.element_size() == 2
    if dropout >= 1 or not (dropout or short) or causal or not plain:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(2, 3)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores.masked_fill_(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores += attention_mask.to(scores.dtype)
    if dropout:
        weights = scores.softmax(-1)
        weights = weights * keep_mask(weights, dropout)
    else:
        # torch's softmax in half precision takes up to four times as long where the length is no multiple of 16.
        weights = scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
    return (weights @ value.to(weights.dtype)).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def quicken(model: nn.Module) -> None:
    """Give a model on the CPU quick dropout, quick embeddings and, where it attends by SDPA, quick attention.

    Weights, configuration and what the model computes without dropout stay as they are.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, QuickDropout(child.p).train(child.training))
            elif type(child) is nn.Embedding and _is_plain(child):
                QuickEmbedding.take_over(child)
    # A module of the user's own has the model of transformers somewhere inside.
    attending = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    if attending and all(module.config._attn_implementation == "sdpa" for module in attending):
        attending[0].set_attn_implementation(ATTENTION)


def _is_plain(embedding: nn.Embedding) -> bool:
    return embedding.weight.requires_grad and not (
        embedding.max_norm or embedding.scale_grad_by_freq or embedding.sparse
    )
