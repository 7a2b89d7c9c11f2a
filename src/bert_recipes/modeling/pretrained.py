"""The folder of a pretrained model: from a name, checked before it is loaded."""

import json
from pathlib import Path

from accelerate import PartialState
from transformers import CONFIG_MAPPING

from bert_recipes.data import embedded
from bert_recipes.data.hub import SAFETENSORS, download_model, parse_hub_name
from bert_recipes.errors import UserError
from bert_recipes.modeling.models import EncoderClassifierConfig

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer.model", "spiece.model", "vocab.json")


def resolve_model(name: str, *, finished: bool = False) -> str:
    """Return what `from_pretrained` takes for `--model name`: a local folder that holds a model.

    Args:
        name: a folder, `embedded:minilm`, or a Hub id as `owner/name` or `owner/name@revision`.
        finished: whether a model that the custom recipe made will do, as it does for predicting.

    Raises:
        UserError: it is none of these, or the Hub is out of reach.
    """
    # The main process asks the network, the others then find the files in the cache.
    with PartialState().main_process_first():
        return _resolve(name, finished)


def _resolve(name: str, finished: bool) -> str:
    if embedded.is_embedded(name):
        return str(embedded.model_path(name))
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked_model(path, name, finished)
    on_hub = parse_hub_name(name)
    if path.exists() or on_hub is None or on_hub.subset:
        raise UserError(
            f"--model {name} is neither a model folder nor a Hub id (owner/name): embedded:minilm needs no hub."
        )
    return _checked_model(download_model(on_hub), name, finished)


def _checked_model(path: Path, name: str, finished: bool) -> str:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"--model {name} is no model folder: it has no config.json.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--model {name} has a config.json that cannot be read: {error}.") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in CONFIG_MAPPING:
        raise UserError(f"--model {name} is of a kind that transformers does not know (model_type {kind}).")
    if kind == EncoderClassifierConfig.model_type and not finished:
        raise UserError(
            f"--model {name} is a finished model of the custom recipe: start from the encoder that it was made of."
        )
    if not any((path / file).is_file() for file in SAFETENSORS):
        pickled = next((f" but {file.name}" for file in sorted(path.glob("*.bin")) if file.is_file()), "")
        raise UserError(
            f"--model {name} has no weights in the safetensors format{pickled}: a pickle can run code when it is "
            "loaded, so save the model again with save_pretrained, which writes model.safetensors."
        )
    if not any((path / file).is_file() for file in TOKENIZER_FILES):
        raise UserError(f"--model {name} has no tokenizer ({', '.join(TOKENIZER_FILES[:2])}, …): save it there too.")
    return str(path)
