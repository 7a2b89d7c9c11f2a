"""A classifier as a graph that needs neither torch nor transformers: ONNX or OpenVINO, in float32 or int8."""

import contextlib
import logging
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

import bert_recipes
from bert_recipes.columns import MODEL_INPUTS
from bert_recipes.errors import UserError
from bert_recipes.modeling.own_code import CODE_ERRORS

ONNX, OPENVINO = ENGINES = ("onnx", "openvino")
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
# A protobuf holds 2 GiB at most: the weights of a larger model stand in a second file beside the ONNX graph.
MOST_IN_ONE_FILE = 1_800_000_000


def check_installed(engine: str, precision: str) -> None:
    """Check that the packages are there by which such a graph is made.

    Raises:
        UserError: one is not installed.
    """
    for package in PACKAGES[engine, precision]:
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            raise UserError(
                f"an export for {engine} in {precision} needs {error.name}, which is not installed: "
                f"pip install 'bert-recipes[{engine}]'."
            ) from error


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
        program: of torch.
        names: of its inputs, in their order: tokens `[batch, length]` in int64, then columns `[batch]`.
    """

    program: ExportedProgram
    names: list[str]

    def write(self, engine: str, path: Path) -> None:
        """Write the graph in float32.

        Args:
            engine: one of `ENGINES`.
            path: `.onnx`, or `.xml`, beside which the weights stand in a `.bin`.

        Raises:
            UserError: the graph holds what the engine does not have.
        """
        try:
            with _without_notices():
                (self._write_onnx if engine == ONNX else self._write_openvino)(path)
        except _conversion_errors(engine) as error:
            raise UserError(f"the model cannot be written for {engine}: {_first_line(error)}") from error

    def _write_onnx(self, path: Path) -> None:
        graph = torch.onnx.export(self.program, input_names=self.names, output_names=["logits"], verbose=False)
        assert graph is not None
        size = sum(weight.nbytes for weight in self.program.state_dict.values())
        graph.save(path, external_data=size > MOST_IN_ONE_FILE)

    def _write_openvino(self, path: Path) -> None:
        import openvino

        graph = openvino.convert_model(self.program)
        for node, name in zip(graph.inputs, self.names, strict=True):
            node.get_tensor().set_names({name})
        graph.outputs[0].get_tensor().set_names({"logits"})
        # By default it would keep the weights in float16.
        openvino.save_model(graph, path, compress_to_fp16=False)


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
    inputs = _example(model, tokens, columns)
    # Named, so that code which does something else from some length on is an error, and not a graph for some lengths.
    batch, length = Dim("batch"), Dim("length", max=max(max_length, TRACED_LENGTH))
    shapes = tuple({0: batch, 1: length} if name in MODEL_INPUTS else {0: batch} for name in inputs)
    whole = _Logits(model.eval(), [*inputs])
    try:
        with torch.no_grad(), _without_notices():
            program = torch.export.export(whole, tuple(inputs.values()), dynamic_shapes={"values": shapes})
    except CODE_ERRORS as error:
        raise UserError(f"the model cannot be exported: {_where(error)}{_first_line(error)}") from error
    return Traced(program, [*inputs])


def _example(
    model: PreTrainedModel, tokens: Sequence[str], columns: Mapping[str, Mapping[str, Any]]
) -> dict[str, Tensor]:
    """Return texts of several lengths, and columns of no known value."""
    shape = (TRACED_TEXTS, TRACED_LENGTH)
    lengths = torch.tensor([TRACED_LENGTH - 4, TRACED_LENGTH, TRACED_LENGTH - 2])
    mask = (torch.arange(TRACED_LENGTH) < lengths[:, None]).long()
    padding = getattr(model.config, "pad_token_id", None) or 0
    ids = torch.where(mask == 1, torch.full(shape, int(padding == 1) + 1), padding)
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(mask)}
    of_columns = {
        name: torch.zeros(TRACED_TEXTS, dtype=torch.float32 if "mean" in known else torch.int64)
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
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _without_notices():
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            use_external_data_format=source.with_name(f"{source.name}.data").exists(),
        )


def quantize_openvino(source: Path, target: Path, batches: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Write a graph with weights and activations in int8, these by the ranges that they have over `batches` (NNCF).

    Args:
        source: the graph in float32.
        target: the `.xml` to write.
        batches: inputs by name, of training rows.
    """
    import nncf
    import openvino

    with _without_notices():
        graph = nncf.quantize(
            openvino.Core().read_model(source),
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
        )
        openvino.save_model(graph, target, compress_to_fp16=False)


def _conversion_errors(engine: str) -> tuple[type[Exception], ...]:
    # OpenVINO's own errors are RuntimeErrors.
    return (torch.onnx.OnnxExporterError,) if engine == ONNX else (RuntimeError,)


def _where(error: BaseException) -> str:
    """Return, for the beginning of a sentence, which line of the user's code an error came from."""
    libraries = [Path(module.__file__).parent for module in (torch, transformers, bert_recipes)]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not any(file.is_relative_to(library) for library in libraries):
            return f"{file.name}, line {frame.lineno} ({frame.line}): "
    return ""


def _first_line(error: BaseException) -> str:
    """Return what a library says first; pages of advice for those who build it follow."""
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"{type(error).__name__}: {text.strip()}"


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Keep back what a user cannot act on."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    root = logging.getLogger()
    level = registration.level
    registration.setLevel(logging.ERROR)  # that torchvision, which no text needs, is not installed
    root.addFilter(_is_no_advice)
    try:
        with warnings.catch_warnings():
            # torch copies a class of its own that it calls deprecated.
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
            yield
    finally:
        registration.setLevel(level)
        root.removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    """Whether a record is none of onnxruntime's advice to infer shapes first, which torch has done."""
    return "consider to run pre-processing" not in record.getMessage()
