"""The folder of a pretrained model: from a name, checked before it is loaded."""

import json
import math
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import CONFIG_MAPPING
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from bert_recipes import terminal
from bert_recipes.config.saved import BLEND, METRICS_FILE, RUN_FILE, places_of, saved_configuration
from bert_recipes.config.start import what_finishes
from bert_recipes.data import embedded
from bert_recipes.data.hub import download_model, parse_hub_name
from bert_recipes.errors import UserError
from bert_recipes.files import read_json
from bert_recipes.modeling.models import EncoderClassifierConfig
from bert_recipes.modeling.weights import check_weights
from bert_recipes.modeling.wrapper import OwnClassifierConfig

TOKENIZER_FILES = (
    *("tokenizer.json", "vocab.txt", "tokenizer.model", "spiece.model", "vocab.json"),
    *("spm.model", "sentencepiece.bpe.model"),
)


def resolve_model(name: str, *, finished: bool = False, trust_remote_code: bool = False) -> str:
    """Return what `from_pretrained` takes for `--model name`: a local folder that holds a model.

    Args:
        name: a model folder, the folder of a run, `embedded:minilm`, or a Hub id as `owner/name` or
            `owner/name@revision`.
        finished: whether it is to predict rather than to be trained, so that standard output is for predictions.
        trust_remote_code: whether code that the model carries may run.

    Raises:
        UserError: it is none of these, it does not hold what is needed, or the Hub is out of reach.
    """
    # The main process asks the network, the others then find the files in the cache.
    with PartialState().main_process_first():
        return _resolve(name, finished, trust_remote_code)


def is_own_classifier(model_dir: str) -> bool:
    """Whether the model in a folder that `resolve_model` returned is a classifier of a user's own."""
    config = json.loads((Path(model_dir) / "config.json").read_text(encoding="utf-8"))
    return bool(config.get("model_type") == OwnClassifierConfig.model_type)


def _resolve(name: str, finished: bool, trust_remote_code: bool) -> str:
    if embedded.is_embedded(name):
        return str(embedded.model_path(name))
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked_model(_model_of_run(path, name), name, finished, trust_remote_code)
    if path.parts[:1] == ("runs",) and not path.exists():
        raise UserError(f"--model {name}: there is no such run yet; train first, as with make recipe-stock.")
    on_hub = parse_hub_name(name)
    if path.exists() or on_hub is None or on_hub.subset:
        raise UserError(
            f"--model {name} is neither a model folder nor a Hub id (owner/name): embedded:minilm needs no hub."
        )
    found = download_model(on_hub, trust_remote_code=trust_remote_code)
    return _checked_model(found, name, finished, trust_remote_code)


def _model_of_run(path: Path, name: str) -> Path:
    """Return the folder of the model where `path` is that of a run, and else `path`."""
    if not (path / RUN_FILE).is_file() or (path / "config.json").is_file():
        return path
    configuration = saved_configuration(path)
    if configuration.get("recipe") == "baseline":
        raise UserError(f"--model {name} is a run of the baseline, which saves no model: name one of stock or custom.")
    if configuration.get("recipe") == BLEND:
        raise UserError(f"--model {name} is a blend of runs: name one of these, as run.yaml there lists them.")
    if (path / "model" / "config.json").is_file():
        return path / "model"
    if (path / "folds" / "1").is_dir():
        raise UserError(f"--model {name} is a run with a model for each fold: name one, as in {path}/folds/1.")
    raise UserError(f"--model {name} is a run that has no model yet: finish it by {what_finishes(path)}")


def folds_of(name: str) -> list[str]:
    """Return the folders of the folds where `name` is a run with a model for each and none of all rows, or nothing.

    Raises:
        UserError: not all of them are finished.
    """
    path = Path(name).expanduser()
    # A fold has the configuration of the whole run, and no folds of its own.
    if not (path / RUN_FILE).is_file() or (path / "config.json").is_file() or not (path / "folds").is_dir():
        return []
    configuration = saved_configuration(path)
    if configuration.get("recipe") == "baseline":
        return []
    if (path / "model" / "config.json").is_file():
        _tell(
            f"--model {name} predicts with its model of all rows; {path}/folds/1 is one of those of its folds.", True
        )
        return []
    if not (path / METRICS_FILE).is_file():
        raise UserError(
            f"--model {name} is a run whose folds are not all finished: name one that is, as in {path}/folds/1, or "
            f"finish it by {what_finishes(path)}"
        )
    count = configuration["folds"]
    _tell(f"--model {name} has a model for each of {count} folds: the mean of what they predict is taken.", True)
    return [str(path / "folds" / str(number)) for number in range(1, count + 1)]


def members_of(name: str) -> list[tuple[Path, float]]:
    """Return the folders of the runs that have a weight, each with it, where `name` is a blend, or nothing.

    They are looked for as they were named: from the working directory, or else from a folder above the blend.

    Raises:
        UserError: the blend is not finished, its run.yaml is damaged, or one of the runs is not there.
    """
    path = Path(name).expanduser()
    if not (path / RUN_FILE).is_file():
        return []
    configuration = saved_configuration(path)
    if configuration.get("recipe") != BLEND:
        return []
    if not (path / METRICS_FILE).is_file():
        raise UserError(f"--model {name} is a blend that is not finished: give the command again that began it.")
    runs: Any = configuration.get("runs")
    weights: Any = configuration.get("weights")
    try:
        members = [(str(run), float(weight)) for run, weight in zip(runs, weights, strict=True) if weight > 0]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path / RUN_FILE} is damaged ({error}): make the blend again.") from error
    if not math.isclose(sum(weight for _, weight in members), 1, abs_tol=1e-6):
        raise UserError(f"{path / RUN_FILE} is damaged (its weights are not one in all): make the blend again.")
    said = ", ".join(f"{run} {weight:.3f}" for run, weight in members)
    _tell(f"--model {name} is a blend: the weighted mean of what its runs predict is taken ({said}).", True)
    return [(_member(run, path, name), weight) for run, weight in members]


def _member(run: str, blend: Path, name: str) -> Path:
    rows = _rows_of(blend)
    there = [place for place in places_of(run, blend) if (place / RUN_FILE).is_file()]
    for place in there:
        # The working directory may hold another run of that name.
        if len({_rows_of(place), rows} - {None}) < 2:
            return place
    if there:
        raise UserError(
            f"--model {name} is a blend of {run}, and {there[0]} was trained on other rows: put back the run of then, "
            "or make the blend again."
        )
    raise UserError(
        f"--model {name} is a blend of {run}, which is there neither from the working directory nor from a folder "
        "above the blend: put it back, or call from where the blend was made."
    )


def _rows_of(folder: Path) -> str | None:
    """Return the digest of the training rows of a run, or None where it has none, as one that is not finished."""
    metrics = folder / METRICS_FILE
    return read_json(metrics).get("environment", {}).get("data", {}).get("train") if metrics.is_file() else None


def _checked_model(path: Path, name: str, finished: bool, trust_remote_code: bool) -> str:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"--model {name} is no model folder: it has no config.json.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--model {name} has a config.json that cannot be read: {error}.") from error
    _check_kind(config if isinstance(config, dict) else {}, name, finished, trust_remote_code)
    if note := check_weights(path, name):
        _tell(note, finished)
    if not any((path / file).is_file() for file in TOKENIZER_FILES) and not (
        # A tokenizer of the model's own has files of its own.
        trust_remote_code and "auto_map" in get_tokenizer_config(str(path))
    ):
        raise UserError(f"--model {name} has no tokenizer ({', '.join(TOKENIZER_FILES[:2])}, …): save it there too.")
    return str(path)


def _tell(note: str, finished: bool) -> None:
    say = terminal.say_beside_data if finished else terminal.say
    say(note)


def _check_kind(config: dict[str, Any], name: str, finished: bool, trust_remote_code: bool) -> None:
    kind, carried = config.get("model_type"), config.get("auto_map")
    if kind == EncoderClassifierConfig.model_type:
        return  # this project's own; whether code of a pooling or an encoder in it may run is seen to where it would
    if kind == OwnClassifierConfig.model_type:
        if not finished:
            raise UserError(
                f"--model {name} is a classifier of the user's own, as --classifier made it: start from the encoder "
                "that it was made of."
            )
        if not trust_remote_code:
            raise UserError(
                f"--model {name} is code that it carries, {config.get('classifier')}: read it, and give "
                "--trust_remote_code (from Python trust_remote_code=True) to let it run."
            )
        return
    if not carried:
        if kind not in CONFIG_MAPPING:
            raise UserError(f"--model {name} is of a kind that transformers does not know (model_type {kind}).")
        return
    if trust_remote_code:
        _tell(f"--model {name} brings its own code, which runs, since --trust_remote_code says so.", finished)
    elif kind in CONFIG_MAPPING:
        _tell(
            f"--model {name} brings its own code, which does not run: transformers' own {kind} is taken. Where that "
            "is another architecture, read the code and give --trust_remote_code.",
            finished,
        )
    else:
        raise UserError(
            f"--model {name} is of a kind that transformers does not know (model_type {kind}) and brings its own "
            "code: read it, and give --trust_remote_code to let it run."
        )
