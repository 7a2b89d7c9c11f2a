"""The encoder's two passes of a training on a GPU as CUDA graphs, which launch hundreds of kernels by one call.

With some thousand tokens a micro-batch, as 32 tweets have, a GPU waits for the processor, which launches one kernel
after the other. A graph has the same kernels with the same inputs, in the same order:
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.

Of each shape of a micro-batch the first pass goes as ever; the second is captured, and from there on replayed.
Pooling, head and loss, which may be anybody's code, stay outside.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from transformers import AttentionInterface, PreTrainedModel, TrainingArguments
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from bert_recipes.errors import UserError, in_one_line

# The families that were captured and compared with themselves to the last bit, on an H100.
# ALBERT's layers share weights, whose gradients a capture adds up in another order; MPNet's positions come from the
# processor.
FAMILIES = {"bert", "distilbert", "electra", "roberta", "xlm-roberta"}
# Beyond, a GPU computes longer than the processor launches, and the memory that a graph keeps is large.
MOST_TOKENS = 8_192
# Each takes some MiB of the driver's memory, and windows of long texts come in many shapes.
MOST_GRAPHS = 64
# Bytes that a GPU must have beyond what a capture is known to take.
SPARE_MEMORY = 2**30
MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")

MASK = "attention_mask"
# While it is captured, an encoder makes a mask even where there is nothing to mask (transformers 5.17), and attention
# under a mask takes another kernel. For attention of a name that it does not know it makes none.
UNMASKED = "sdpa_without_mask"
AttentionInterface.register(UNMASKED, sdpa_attention_forward)
Pass = Callable[[], None]


def why_not(model: nn.Module, args: TrainingArguments, distribution: DistributedType) -> str:
    """Return in a few words why this training cannot replay graphs, or nothing.

    Args:
        model: what is trained.
        args: how.
        distribution: what accelerate makes of several processes; DDP, FSDP and DeepSpeed all wait for each gradient.
    """
    encoder = getattr(model, "base_model", model)
    attention = getattr(encoder.config, "_attn_implementation", None) if isinstance(encoder, PreTrainedModel) else None
    if args.device.type != "cuda":
        return "they are for GPUs by CUDA"
    if distribution != DistributedType.NO:
        return "they take one process without sharding"
    if args.torch_compile:
        return "--torch_compile makes graphs of its own"
    if args.gradient_checkpointing:
        return "--gradient_checkpointing repeats the passes"
    if encoder is model or not isinstance(encoder, PreTrainedModel) or encoder.config.model_type not in FAMILIES:
        return f"they take the plain encoders of {', '.join(sorted(FAMILIES))}"
    if attention != "sdpa":
        return f"they take attention by sdpa, not by {attention}"
    return ""


class _Seen(NamedTuple):
    """What is known of a shape that went both ways once.

    Attributes:
        needed: for each output of the encoder, whether the loss depends on it.
        grown: the bytes that the first pass left for the second.
    """

    needed: tuple[bool, ...]
    grown: int


class EncoderGraphs:
    """Stands in for the `forward` of an encoder, and replays both of its passes where it trains.

    Gradients add up in the parameters as they do without graphs, and dropout draws the same masks.

    Args:
        encoder: on its device; its parameters must stay where they are in memory.
        capture: takes a pass, the device and a pool of memory, and returns what repeats the pass.
    """

    def __init__(self, encoder: PreTrainedModel, capture: Callable[[Pass, torch.device, Any], Pass] | None = None):
        self.encoder, self.forward = encoder, encoder.forward
        self.capture = capture or capture_graph
        self.parameters, self.modules = list(encoder.parameters()), list(encoder.modules())
        device = self.parameters[0].device
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        # A loss that has no other parameter under it must still reach `_Replay.backward`.
        self.anchor = torch.zeros((), device=device, requires_grad=True)
        self.gradients: dict[int, Tensor] = {}
        self.seen: dict[Hashable, _Seen] = {}
        self.captured: dict[Hashable, _Shape] = {}
        # Whether the micro-batch that goes through next has padding. Attention has another kernel where there is none,
        # and the encoder itself would look only outside of a capture, and wait for the GPU to do so.
        self.padded = True
        # Whether a replayed forward pass waits for its backward pass, which needs what the first left in memory.
        self.waiting = False
        encoder.forward = self

    def close(self) -> None:
        """Give the encoder its own `forward` back, and free the graphs."""
        self.encoder.__dict__.pop("forward", None)
        self.captured.clear()
        self.gradients.clear()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the encoder's own `forward` does."""
        leaves, spec = tree_flatten((args, kwargs))
        if not self._may_replay(leaves):
            return self.forward(*args, **kwargs)
        if not self.padded and MASK in kwargs:
            kwargs = kwargs | {MASK: None}
            leaves, spec = tree_flatten((args, kwargs))
        key = self._key(leaves, spec)
        if key not in self.captured:
            if key not in self.seen or not self._may_capture(self.seen[key]):
                before = memory_in_use(self.anchor.device)
                outputs, output_spec = tree_flatten(self.forward(*args, **kwargs))
                grown = memory_in_use(self.anchor.device) - before
                return tree_unflatten(list(_Noted.apply(self.seen, key, grown, *outputs)), output_spec)
            try:
                self.captured[key] = _Shape(self, leaves, spec, self.seen[key].needed)
            except RuntimeError as error:  # which leaves the GPU's generator in the capture
                raise UserError(
                    f"the encoder cannot be captured as CUDA graphs ({in_one_line(error)}): give --cuda_graphs false."
                ) from error
        shape = self.captured[key]
        outputs = _Replay.apply(self.anchor, shape, *(leaf for leaf in leaves if isinstance(leaf, Tensor)))
        return tree_unflatten(list(outputs), shape.output_spec)

    @contextlib.contextmanager
    def set_aside(self, unmasked: bool) -> Iterator[None]:
        """Let the encoder call its own `forward`, and make no mask for texts that need none."""
        attention = self.encoder.config._attn_implementation
        self.encoder.__dict__.pop("forward")
        if unmasked:
            self.encoder.set_attn_implementation(UNMASKED)
        try:
            yield
        finally:
            if unmasked:
                self.encoder.set_attn_implementation(attention)
            self.encoder.forward = self

    def _may_replay(self, leaves: list[Any]) -> bool:
        ids = next((leaf for leaf in leaves if isinstance(leaf, Tensor)), None)
        return (
            ids is not None
            and ids.numel() <= MOST_TOKENS
            and self.encoder.training
            and torch.is_grad_enabled()
            and not self.waiting
            and not any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves)
            and any(parameter.requires_grad for parameter in self.parameters)
            # Python, which a replay would leave out.
            and not any(getattr(module, hooks) for module in self.modules for hooks in MODULE_HOOKS)
            and not any(getattr(parameter, hooks) for parameter in self.parameters for hooks in TENSOR_HOOKS)
        )

    def _may_capture(self, seen: "_Seen") -> bool:
        # A capture that runs out of memory ends the process. Both passes keep no more than this at a time: what the
        # one leaves for the other, as much again on the way, and a gradient of each parameter.
        weights = sum(parameter.numel() * parameter.element_size() for parameter in self.parameters)
        needed = 2 * seen.grown + weights + SPARE_MEMORY
        return len(self.captured) < MOST_GRAPHS and free_memory(self.anchor.device) >= needed

    def _key(self, leaves: list[Any], spec: TreeSpec) -> Hashable:
        inputs = tuple(
            (leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves
        )
        trained = tuple(parameter.requires_grad for parameter in self.parameters)
        return str(spec), inputs, trained, _autocast_dtype(self.anchor.device)

    def gradient_of(self, number: int) -> Tensor:
        """Return the memory in which a parameter's gradient adds up."""
        if number not in self.gradients:
            self.gradients[number] = torch.zeros_like(self.parameters[number])
        return self.gradients[number]

    def take_gradients(self, numbers: list[int]) -> None:
        """Let the gradients of these parameters add up in the memory that the graphs know."""
        empty = []
        for number in numbers:
            parameter, own = self.parameters[number], self.gradient_of(number)
            if parameter.grad is None:
                empty.append(own)
            elif parameter.grad is not own:
                own.copy_(parameter.grad)
            parameter.grad = own
        if empty:
            torch._foreach_zero_(empty)


class _Shape:
    """Both passes over micro-batches of one shape, with the memory of what goes in and what comes out."""

    def __init__(self, graphs: EncoderGraphs, leaves: list[Any], spec: TreeSpec, needed: tuple[bool, ...]):
        self.graphs, self.needed = graphs, needed
        self.inputs = [leaf.clone() for leaf in leaves if isinstance(leaf, Tensor)]
        taken = iter(self.inputs)
        args, kwargs = tree_unflatten([next(taken) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec)
        device = graphs.anchor.device
        half = _autocast_dtype(device)
        # The same memory as new leaves: a pass that autograd still holds has tied the parameters to another stream.
        weights = {name: p.detach().requires_grad_(p.requires_grad) for name, p in graphs.encoder.named_parameters()}
        trained = {n: weight for n, weight in enumerate(weights.values()) if weight.requires_grad}
        for number in trained:
            graphs.gradient_of(number)
        unmasked = kwargs.get(MASK) is None

        def forward() -> None:
            # A weight that autocast has kept from outside would be in memory that is freed.
            cast = torch.autocast(device.type, half, enabled=half is not None, cache_enabled=False)
            with torch.enable_grad(), cast, graphs.set_aside(unmasked):
                self.outputs, self.output_spec = tree_flatten(functional_call(graphs.encoder, weights, args, kwargs))

        def backward() -> None:
            outputs = [output for output, is_needed in zip(self.outputs, needed, strict=True) if is_needed]
            found = torch.autograd.grad(outputs, list(trained.values()), self.output_gradients, allow_unused=True)
            used = {n: gradient for n, gradient in zip(trained, found, strict=True) if gradient is not None}
            torch._foreach_add_([graphs.gradients[n] for n in used], list(used.values()))
            # A parameter that the outputs do not depend on has no gradient, rather than one of zeros.
            self.used = list(used)

        self.replay_forward = graphs.capture(forward, device, graphs.pool)
        self.output_gradients = [
            torch.zeros_like(output) for output, is_needed in zip(self.outputs, needed, strict=True) if is_needed
        ]
        self.replay_backward = graphs.capture(backward, device, graphs.pool)
        # What autograd keeps of the capture would tie later passes to its stream.
        self.outputs = [output.detach() for output in self.outputs]


class _Noted(torch.autograd.Function):
    """What an encoder returned, as it is; notes in its backward pass which of it the loss depends on."""

    @staticmethod
    def forward(
        ctx: Any, seen: dict[Hashable, _Seen], key: Hashable, grown: int, *outputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.seen, ctx.key, ctx.grown = seen, key, grown
        return tuple(output.view_as(output) for output in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.seen[ctx.key] = _Seen(tuple(gradient is not None for gradient in gradients), ctx.grown)
        return None, None, None, *gradients


class _Replay(torch.autograd.Function):
    """An encoder's pass by the graphs of its shape; the gradients of the parameters add up beside autograd."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, shape: _Shape, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        for own, given in zip(shape.inputs, inputs, strict=True):
            own.copy_(given)
        shape.replay_forward()
        shape.graphs.waiting = True
        ctx.shape = shape
        return tuple(output.detach() for output in shape.outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, ...]:
        shape = ctx.shape
        own = iter(shape.output_gradients)
        for given, is_needed in zip(gradients, shape.needed, strict=True):
            if is_needed:
                _copy(next(own), given)
            elif given is not None:
                raise UserError(
                    "the loss depends on more of what the encoder returns than before: --cuda_graphs false."
                )
        shape.graphs.take_gradients(shape.used)
        shape.replay_backward()
        shape.graphs.waiting = False
        return (None,) * (2 + len(shape.inputs))


def _copy(own: Tensor, given: Tensor | None) -> None:
    if given is None:
        own.zero_()
    else:
        own.copy_(given)


def _autocast_dtype(device: torch.device) -> torch.dtype | None:
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def memory_in_use(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that hold something."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def free_memory(device: torch.device) -> float:
    """Return the bytes of a GPU's memory that a capture can have, what this process has freed and keeps among them."""
    if device.type != "cuda":
        return float("inf")
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - memory_in_use(device)


def capture_graph(run: Pass, device: torch.device, pool: Any) -> Pass:
    """Return what does on a GPU what `run` does, in the memory of `pool`; nothing of it is done yet.

    The generator of the GPU stays where it is: a training that is resumed captures at another step.
    """
    state = torch.cuda.get_rng_state(device)
    graph = torch.cuda.CUDAGraph()
    # Of other threads a data loader's may be at work, which pins memory.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        run()
    torch.cuda.set_rng_state(state, device)
    return graph.replay
