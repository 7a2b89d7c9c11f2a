"""What is quicker on a CPU: dropout masks drawn in parallel bits, and attention with them or over short texts.

Each is measured by `make bench` and told in docs/performance.md.
"""

import os

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "sdpa_or_products"
# Up to this length plain matrix products are quicker than the blocks of the fused kernel, in half precision.
SHORT = 128


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_mask(like: Tensor, p: float) -> Tensor:
    """Return a tensor like `like` that holds 0 with probability `p` and else 1 / (1 - p).

    `torch.bernoulli` draws on one thread, 9 ns an element, which is an eighth of a step on two cores. Here one draw
    of 64 bits decides four elements, so `p` is rounded to a multiple of 2**-16.
    """
    count = like.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = bits[:count].view(like.shape) >= round(p * 2**16) - 2**15
    return kept.to(like.dtype).mul_(1 / (1 - p))


class QuickDropout(nn.Dropout):
    """`nn.Dropout` for the CPU, whose mask `keep_mask` draws."""

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` of any shape with elements dropped while training, and as it is otherwise."""
        if not self.training or not self.p:
            return input
        return input * keep_mask(input, self.p) if self.p < 1 else input * 0


def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None, **kwargs):
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
    weights = scores.softmax(-1)
    if dropout:
        weights = weights * keep_mask(weights, dropout)
    return (weights @ value.to(weights.dtype)).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def quicken(model: nn.Module) -> None:
    """Give a model on the CPU quick dropout in its layers and, where it attends by SDPA, quick attention.

    Weights, configuration and what the model computes without dropout stay as they are.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, QuickDropout(child.p).train(child.training))
    # A module of the user's own has the model of transformers somewhere inside.
    attending = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    if attending and all(module.config._attn_implementation == "sdpa" for module in attending):
        attending[0].set_attn_implementation(ATTENTION)
