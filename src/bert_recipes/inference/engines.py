"""What runs the graphs of an export: onnxruntime or OpenVINO, neither of them imported before it is needed."""

import contextlib
import importlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bert_recipes.errors import UserError, in_one_line
from bert_recipes.inference.batches import Forward

# From 1.29 on, onnxruntime for Linux and macOS sends its makers what it runs and an id of the machine, unless this is
# in the environment when it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# What OpenVINO and NNCF take for a continuous integration, in which they send nothing.
IN_CI = {"CI": "true", "NNCF_CI": "1"}
# What an engine's name in `export.json` is installed by.
INSTALL = {"onnx": "pip install onnxruntime", "openvino": "pip install openvino"}
# What OpenVINO calls the types that it may compute in.
NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


@contextlib.contextmanager
def without_statistics() -> Iterator[None]:
    """Keep OpenVINO and NNCF, imported or called meanwhile, from sending their makers what they are used for."""
    environment = {name: os.environ.get(name) for name in IN_CI}
    os.environ.update(IN_CI)
    try:
        yield
    finally:
        for name, value in environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def import_engine(name: str) -> ModuleType:
    """Import `onnxruntime` or `openvino`, which by default send their makers that they were."""
    with without_statistics():
        return importlib.import_module(name)


def open_graph(
    engine: str, path: Path, *, inputs: Collection[str], num_labels: int, threads: int, bf16: bool | None
) -> Forward:
    """Return what computes the logits `[batch, num_labels]`, float32, of inputs by name.

    Args:
        engine: `onnx` or `openvino`.
        path: of the graph.
        inputs: the names of all that it takes.
        num_labels: how many logits it must return for a row.
        threads: to compute with.
        bf16: whether OpenVINO computes in bfloat16; by default where the CPU has it natively. onnxruntime computes in
            the precision of the graph.

    Raises:
        UserError: the engine is not installed or cannot read the graph, or the graph has other inputs or logits.
    """
    try:
        names, outputs, forward = _OPEN[engine](path, threads, bf16)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path.parent} is an export for {engine}, and the package {error.name} is not installed: "
            f"{INSTALL[engine]}."
        ) from error
    if {*names} != {*inputs}:
        found, said = (", ".join(sorted(some)) for some in (names, inputs))
        raise UserError(f"{path} takes {found}, and export.json says {said}: export the run again.")
    if outputs not in (None, num_labels):
        raise UserError(
            f"{path} returns {outputs} logits, and export.json has {num_labels} labels: export the run again."
        )
    return forward


def arithmetic(engine: str, bf16: bool | None) -> str:
    """Return in what an engine, which is installed, computes on this CPU the parts of a graph that are not in int8.

    Args:
        engine: `onnx` or `openvino`.
        bf16: as `open_graph` takes it.
    """
    if engine != "openvino" or bf16 is not None:
        return "bfloat16" if bf16 else "float32"
    name = import_engine("openvino").Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    return NAMES.get(name, name)


def unreadable(path: Path, library: Any, error: Exception) -> UserError:
    """Return what is said of a file of an export that a library cannot read, though it is as it was written."""
    return UserError(
        f"{path} cannot be read by {library.__name__} {library.__version__} ({in_one_line(error)}): export the run "
        "again, or install the version that it was exported with."
    )


def _open_onnx(path: Path, threads: int, bf16: bool | None) -> tuple[list[str], int | None, Forward]:
    onnxruntime = import_engine("onnxruntime")
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    if bf16:
        raise UserError(
            f"--bf16 true cannot be honoured: onnxruntime computes {path} in the precision that it was exported in; "
            "export it for openvino, or leave the flag out."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Between two batches nothing is to be computed: by default the threads would wait for it in a loop.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (raised.Fail, raised.InvalidProtobuf, raised.InvalidGraph, raised.NotImplemented) as error:
        raise unreadable(path, onnxruntime, error) from error
    names = [node.name for node in session.get_inputs()]

    def forward(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return session.run(None, inputs)[0]

    return names, _count(session.get_outputs()[0].shape[-1]), forward


def _open_openvino(path: Path, threads: int, bf16: bool | None) -> tuple[list[str], int | None, Forward]:
    openvino = import_engine("openvino")
    core = openvino.Core()
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if bf16 is not None:
        options["INFERENCE_PRECISION_HINT"] = "bf16" if bf16 else "f32"
    try:
        compiled = core.compile_model(str(path), "CPU", options)
    except RuntimeError as error:
        raise unreadable(path, openvino, error) from error
    names = [node.get_any_name() for node in compiled.inputs]
    request = compiled.create_infer_request()

    def forward(inputs: dict[str, np.ndarray]) -> np.ndarray:
        request.infer(inputs, share_inputs=True)
        return request.get_output_tensor(0).data.copy()

    last = compiled.output(0).partial_shape[-1]
    return names, last.get_length() if last.is_static else None, forward


def _count(size: Any) -> int | None:
    return size if isinstance(size, int) else None  # a name, where it is known at run time alone


_OPEN: dict[str, Callable[[Path, int, bool | None], tuple[list[str], int | None, Forward]]] = {
    "onnx": _open_onnx,
    "openvino": _open_openvino,
}
