"""What makes training quicker on a CPU: dropout masks drawn in parallel bits, attention with them, memory kept.

Each is measured by `make bench` and told in docs/performance.md.
"""

import ctypes
import os
import platform

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "sdpa_with_quick_dropout"
# The parameters of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


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
    transformers takes them. Whatever else than plain bidirectional attention under dropout goes to SDPA.
    """
    causal = is_causal or (is_causal is None and getattr(module, "is_causal", False))
    plain = kwargs.get("position_bias") is None and kwargs.get("softcap") is None and query.shape[1] == key.shape[1]
    if not dropout or dropout >= 1 or causal or not plain:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(2, 3)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask.to(scores.dtype)
    weights = scores.softmax(-1)
    weights = weights * keep_mask(weights, dropout)
    return (weights @ value.to(weights.dtype)).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def quicken(model: nn.Module) -> None:
    """Give a model that trains on the CPU quick dropout, in its layers and, where it attends by SDPA, in attention.

    Weights, configuration and what the model computes without dropout stay as they are.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, QuickDropout(child.p).train(child.training))
    # A module of the user's own has the model of transformers somewhere inside.
    attending = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    for module in attending[:1]:
        if module.config._attn_implementation == "sdpa":
            module.set_attn_implementation(ATTENTION)


def keep_memory(mapped: int = 2**30, trimmed: int = 2**31 - 1) -> None:
    """Let glibc keep the memory that a training step frees: the next one wants as much, page by page from the kernel.

    Gradients alone are as large as the model. Where the C library is another, nothing is changed.

    Args:
        mapped: bytes from which on a block is asked of the kernel by itself and given back when it is freed.
        trimmed: bytes free at the end of the heap from which on they are given back.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, mapped)
        libc.mallopt(M_TRIM_THRESHOLD, trimmed)
