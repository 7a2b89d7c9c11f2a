"""The files of weights in a model's folder: safetensors, or else PyTorch's pickles, of which no code runs."""

import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open

from bert_recipes.data.hub import SAFETENSORS
from bert_recipes.errors import UserError, in_one_line, some

# In the order in which transformers looks for them.
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
OTHER_FORMATS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf")
# What torch.load raises of a damaged file, or of one that is no plain state dict.
DAMAGE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError, RuntimeError),
    *(AttributeError, ImportError, LookupError, TypeError, ValueError),
)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights, safetensors where there are such, or nothing.

    Raises:
        UserError: an index of several files cannot be read.
    """
    for single, index in (SAFETENSORS, PICKLES):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return _listed(folder / index)
    return []


def _listed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [index.parent / name for name in names]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{index} is no index of a model's weights ({in_one_line(error)}): get or save the model again."
        ) from error


def read_weights(folder: Path, wanted: Callable[[str], bool]) -> dict[str, torch.Tensor]:
    """Return the weights in a model's folder whose names are `wanted`; no code runs."""
    found: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                names = [name for name in tensors.keys() if wanted(name)]  # noqa: SIM118  it is no dict
                found |= {name: tensors.get_tensor(name) for name in names}
        else:
            pickled = torch.load(file, map_location="cpu", weights_only=True)
            found |= {name: tensor for name, tensor in pickled.items() if wanted(name)}
    return found


def check_weights(folder: Path, name: str) -> str | None:
    """Check that a model's folder has weights that can be read without running code.

    Args:
        folder: of the model.
        name: as `--model` has it.

    Returns:
        A sentence to say where they are read from a pickle, or None.

    Raises:
        UserError: there are none, some are missing, or a pickle is damaged or holds more than tensors.
    """
    files = weight_files(folder)
    if not files:
        others = sorted({path.name for pattern in OTHER_FORMATS for path in folder.glob(pattern)})
        found = f" but {some(others)}" if others else ""
        raise UserError(
            f"--model {name} has no weights ({SAFETENSORS[0]} or {PICKLES[0]}){found}: save the model again with "
            "save_pretrained."
        )
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(f"--model {name} lacks a part of its weights, {some(missing)}: get or save the model again.")
    pickled = [file for file in files if file.suffix != ".safetensors"]
    for file in pickled:
        _check_pickle(file, name)
    if not pickled:
        return None
    return (
        f"--model {name} has its weights in {pickled[0].name}, a pickle: only tensors are read from it, no code in it "
        "runs, and what is trained is saved as safetensors."
    )


def _check_pickle(file: Path, name: str) -> None:
    try:
        # Mapped into memory, so that the tensors themselves are not read yet; the format before torch 1.6 cannot be.
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except DAMAGE as error:
        # What torch says beside tells how to run the code.
        reason = re.search(r"WeightsUnpickler error: (.*?)( Please | Check the doc|$)", in_one_line(error))
        raise UserError(
            f"--model {name}: {file.name} is damaged or holds more than tensors, and code in it is not run "
            f"({reason[1] if reason else in_one_line(error)}): get the model again, or one with {SAFETENSORS[0]}."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UserError(
            f"--model {name}: {file.name} holds no weights by their names: save the model again with save_pretrained."
        )
