"""A classifier as a graph that needs neither torch nor transformers: ONNX or OpenVINO, in float32 or int8."""

import contextlib
import importlib.util
import io
import logging
import re
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from transformers import PreTrainedModel

from bert_recipes.columns import MODEL_INPUTS
from bert_recipes.errors import UserError
from bert_recipes.inference.batches import TOKENS_PER_BATCH, Forward
from bert_recipes.inference.engines import without_statistics
from bert_recipes.inference.export_format import ENGINES
from bert_recipes.modeling.own_code import CODE_ERRORS

ONNX, OPENVINO = ENGINES
FLOAT32, INT8 = "float32", "int8"
# What each engine's graphs are made with, beside torch.
PACKAGES = {
    (ONNX, FLOAT32): ("onnx", "onnxscript", "onnxruntime"),
    (ONNX, INT8): ("onnx", "onnxscript", "onnxruntime"),
    (OPENVINO, FLOAT32): ("openvino",),
    (OPENVINO, INT8): ("openvino", "nncf"),
}
# The texts that a model is traced on. No two sizes are alike, since torch takes sizes that are for one and the same.
TRACED_TEXTS, TRACED_LENGTH = 3, 13
SIZES = ("batch", "length")


def check_installed(engine: str, precision: str) -> None:
    """Check that the packages are there by which such a graph is made.

    Raises:
        UserError: one is not installed.
    """
    for package in PACKAGES[engine, precision]:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"an export for {engine} in {precision} needs {package}, which is not installed: "
                f"pip install 'bert-recipes[{engine}]'."
            )


class _Logits(nn.Module):
    """A classifier that takes its inputs in the order of their names, and returns logits `[batch, num_labels]`."""

    def __init__(self, model: PreTrainedModel, names: Sequence[str]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: Tensor) -> Tensor:
        return self.model(**dict(zip(self.names, values, strict=True))).logits


@dataclass(frozen=True)
class Traced:
    """What torch has traced of a classifier: batch and length are free.

    Attributes:
        model: that was traced.
        program: of torch.
        names: of its inputs, in their order: tokens `[batch, length]` in int64, then columns `[batch]`.
        probes: inputs at the ends of what it may be given: one text, the shortest that the model takes, the longest.
    """

    model: PreTrainedModel
    program: ExportedProgram
    names: list[str]
    probes: list[dict[str, Tensor]]

    def write(self, engine: str, path: Path) -> None:
        """Write the graph in float32.

        Args:
            engine: one of `ENGINES`.
            path: `.onnx`, or `.xml`, beside which the weights stand in a `.bin`.

        Raises:
            UserError: the graph holds what the engine does not have.
        """
        with _quietly():
            _WRITERS[engine](self, path)

    def check(self, engine: str, forward: Forward) -> None:
        """Check a graph at the ends of what it may be given, where rows of data may not come.

        Args:
            engine: one of `ENGINES`.
            forward: computes it.

        Raises:
            UserError: it gives other logits than the model, or fails.
        """
        for probe in self.probes:
            texts, length = probe["input_ids"].shape
            with torch.no_grad():
                expected = self.model(**probe).logits.numpy()
            what = f"for {texts} text{'s' * (texts > 1)} of {length} tokens"
            try:
                logits = forward({name: values.numpy() for name, values in probe.items()})
            except _failures(engine) as error:
                raise UserError(f"the model cannot be exported: its graph fails {what}: {_why_not(error)}") from error
            if not np.allclose(logits, expected, rtol=0, atol=1e-4 * max(1.0, np.abs(expected).max())):
                raise UserError(
                    f"the model cannot be exported: its graph gives other logits than the model {what}, as where code "
                    "asks for the size of a batch, or makes numbers of tensors."
                )


def _write_onnx(traced: Traced, path: Path) -> None:
    sizes = [dict(enumerate(SIZES[: values.ndim])) for values in traced.probes[0].values()]
    try:
        graph = torch.onnx.export(
            traced.program,
            input_names=traced.names,
            output_names=["logits"],
            dynamic_shapes={"values": sizes},  # for their names alone
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"the model cannot be written for {ONNX}: {_why_not(error)}") from error
    assert graph is not None
    # torch calls values by what made them, as in `mean`, and a column may be called so too.
    for value in (value for node in graph.model.graph for value in node.outputs if value.name in traced.names):
        value.name = f"{value.name}::value"
    # Weights in a file of their own are mapped into memory, and not read twice; and a protobuf holds 2 GiB at most.
    graph.save(path, external_data=True)


def _write_openvino(traced: Traced, path: Path) -> None:
    import openvino
    from openvino import frontend

    try:
        graph = openvino.convert_model(traced.program)
    except (frontend.OpConversionFailure, frontend.OpValidationFailure, frontend.GeneralFailure) as error:
        raise UserError(f"the model cannot be written for {OPENVINO}: {_why_not(error)}") from error
    for node, name in zip(graph.inputs, traced.names, strict=True):
        node.get_tensor().set_names({name})
    graph.outputs[0].get_tensor().set_names({"logits"})
    # By default it would keep the weights in float16.
    openvino.save_model(graph, path, compress_to_fp16=False)


_WRITERS = {ONNX: _write_onnx, OPENVINO: _write_openvino}


def _failures(engine: str) -> tuple[type[Exception], ...]:
    """Return what an engine raises of a graph that does not compute."""
    if engine == OPENVINO:
        return (RuntimeError,)
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    return (Fail, InvalidArgument, RuntimeException)


def trace(
    model: PreTrainedModel, max_length: int, tokens: Sequence[str], columns: Mapping[str, Mapping[str, Any]]
) -> Traced:
    """Trace a classifier for all batches and all lengths up to `max_length`, on three short texts.

    Args:
        model: as it was saved, in float32 on the CPU.
        max_length: tokens of the longest text.
        tokens: the lists of tokens that it takes.
        columns: what is known of each column that it takes beside the text.

    Raises:
        UserError: its code cannot be traced; the sentence says where.
    """
    model = model.eval()
    for module in model.modules():
        # Where all that a token attends to is padding, OpenVINO's fused attention gives no numbers.
        if isinstance(module, PreTrainedModel) and getattr(module.config, "local_attention", None):
            module.set_attn_implementation("eager")
    shortest = _shortest(model, tokens, columns)
    inputs = _example(model, tokens, columns, TRACED_TEXTS, TRACED_LENGTH)
    # With a name, so that code which does something else from some length on is an error, and not a graph for some
    # lengths. torch takes no size of 1, which is what a convolution may leave of the shortest text.
    length = Dim("length", min=shortest + 1, max=max(max_length, TRACED_LENGTH))
    shapes = tuple({0: Dim("batch"), 1: length} if name in MODEL_INPUTS else {0: Dim("batch")} for name in inputs)
    try:
        with torch.no_grad(), _quietly():
            program = torch.export.export(
                _Logits(model, [*inputs]), tuple(inputs.values()), dynamic_shapes={"values": shapes}
            )
    except CODE_ERRORS as error:
        raise UserError(f"the model cannot be exported: {_why_not(error)}") from error
    longest = max(max_length, shortest)
    # No more than prediction puts into a batch: attention takes memory by the square of the length.
    texts_at_once = max(1, min(TRACED_TEXTS, TOKENS_PER_BATCH["cpu"] // longest))
    sizes = ((1, shortest), (1, TRACED_LENGTH), (texts_at_once, longest))
    probes = [_example(model, tokens, columns, texts, length) for texts, length in sizes]
    return Traced(model, program, [*inputs], probes)


def _shortest(model: PreTrainedModel, tokens: Sequence[str], columns: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the length of the shortest text that the model takes: a convolution may need some tokens."""
    for length in range(2, TRACED_LENGTH):
        with contextlib.suppress(*CODE_ERRORS), torch.no_grad():
            model(**_example(model, tokens, columns, 1, length))
            return length
    return 2  # it takes none, and tracing it will tell why


def _example(
    model: PreTrainedModel, tokens: Sequence[str], columns: Mapping[str, Mapping[str, Any]], texts: int, length: int
) -> dict[str, Tensor]:
    """Return texts of `length` tokens, of half of them and of two, or the first of these, and unknown columns."""
    lengths = torch.tensor([length, length // 2, 2][:texts]).clamp(min=2)
    mask = (torch.arange(length) < lengths[:, None]).long()
    padding = getattr(model.config, "pad_token_id", None) or 0
    ids = torch.where(mask == 1, 2 if padding == 1 else 1, padding)
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(mask)}
    of_columns = {
        name: torch.zeros(texts, dtype=torch.float32 if "mean" in known else torch.int64)
        for name, known in columns.items()
    }
    return {name: values[name] for name in tokens} | of_columns


def quantize_onnx(source: Path, target: Path) -> None:
    """Write a graph with the weights of its matrix products in int8, and activations as each batch needs (dynamic).

    The weights keep to seven of the eight bits: with eight, a CPU without VNNI instructions saturates sums of 16 bits,
    and predicts otherwise than the one that the scores were measured on
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).

    Args:
        source: the graph in float32.
        target: the file to write.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(source, load_external_data=False).graph
    # onnxruntime cannot compute one with a vector in int8, such as that of attention pooling.
    vectors = {weight.name for weight in graph.initializer if len(weight.dims) < 2}
    with_vectors = [node.name for node in graph.node if node.op_type == "MatMul" and vectors.intersection(node.input)]
    with _quietly():
        quantize_dynamic(
            source,
            target,
            nodes_to_exclude=with_vectors,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            use_external_data_format=True,
        )
    weights = target.with_name(f"{target.name}.data")
    if weights.exists():  # which onnxruntime makes by tempfile, for this user alone
        weights.chmod(target.stat().st_mode)


def quantize_openvino(source: Path, target: Path, batches: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Write a graph with weights and activations in int8, these by the ranges that they have over `batches` (NNCF).

    Args:
        source: the graph in float32.
        target: the `.xml` to write.
        batches: inputs by name, of training rows.
    """
    with _quietly():
        import nncf
        import openvino

        graph = nncf.quantize(
            openvino.Core().read_model(source),
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
        )
        openvino.save_model(graph, target, compress_to_fp16=False)


def _why_not(error: BaseException) -> str:
    """Return what a library says of code that it cannot take, and which line that is, where it can be told."""
    said = str(error)
    if "specialized it to be a constant" in said:
        what = "batches" if "marked batch" in said else "texts"
        return f"as torch traces its code, it is for {what} of one size alone."
    if guard := re.search(r"satisfy the generated guard (.+)", said):
        # In torch's words the sizes of the first input, and the like.
        sizes = re.sub(r"L\['values'\]\[\d+\]\.size\(\)\[(\d)\]", lambda found: SIZES[int(found[1])], guard[1])
        return f"as torch traces its code, it is for some sizes alone ({sizes.rstrip('.')})."
    # Pages of advice for those who build the library follow.
    first = said.partition("\n\n")[0].replace("Check 'false' failed at", "")
    return f"{_where(error)}{type(error).__name__}: {' '.join(first.split()) or 'it does not say why'}"


def _where(error: BaseException) -> str:
    libraries = [Path(str(module.__file__)).parent for module in (torch, transformers)]
    libraries += [Path(__file__).parents[1], Path(sysconfig.get_path("stdlib"))]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and "site-packages" not in file.parts and not any(map(file.is_relative_to, libraries)):
            return f"{file.name}, line {frame.lineno} ({frame.line}): "
    return ""


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep back what the libraries log and print meanwhile, which is for those who build them, and what they report.

    What goes wrong is raised, and what comes out is compared with the model.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with without_statistics(), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            # torch copies a class of its own that it calls deprecated, and tells of parts that it cannot trace before
            # it fails on them.
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
            warnings.filterwarnings("ignore", message="The tensor attributes? .* assigned during export")
            # That of one size, which all inputs have, one name is enough.
            warnings.filterwarnings("ignore", message="# The axis name: .* will not be used")
            yield
    finally:
        logging.disable(disabled)
