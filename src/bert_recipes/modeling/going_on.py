"""A trained model as the start of another training: what of its choices and of its head is kept, and what differs."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from bert_recipes import terminal
from bert_recipes.config.arguments import CustomArguments
from bert_recipes.config.parsing import Arguments
from bert_recipes.config.reading import READING, Reading
from bert_recipes.config.saved import configuration_of_model
from bert_recipes.data.tokenization import encoder_of
from bert_recipes.errors import UserError, some
from bert_recipes.modeling.loading import LINEAR_HEAD, compared_heads, custom_config, is_on_pooler, label_names_of
from bert_recipes.modeling.models import EncoderClassifier, EncoderClassifierConfig
from bert_recipes.modeling.own_code import file_of, source_at
from bert_recipes.modeling.pooling import POOLINGS
from bert_recipes.modeling.weights import read_weights

# Choices of the custom recipe that its models carry in their configuration.
CHOICES = ("pooling", "head_layers", "head_size", "head_activation", "head_dropout", "dropout_samples")
# Those of them that hidden layers alone have.
OF_HIDDEN_LAYERS = ("head_size", "head_activation")


def follow_model(args: Arguments[CustomArguments], model_dir: str) -> Arguments[CustomArguments]:
    """Return the recipe's arguments with pooling and head of the model that it starts from, where none were given.

    What was given, by a flag or a configuration, stays. A model of another kind leaves the arguments as they are.

    Args:
        args: of the recipe.
        model_dir: the folder of the model.

    Raises:
        UserError: its pooling is code that it carries, and nobody said that it may run.
    """
    there = custom_config(model_dir)
    if there is None or args.model.classifier:  # which has a pooling and a head of its own
        return args
    defaults = {field.name: field.default for field in dataclasses.fields(CustomArguments)}
    taken = {
        name: getattr(there, name)
        for name in CHOICES
        # Arguments made by hand know not what was given.
        if name not in args.given and getattr(args.model, name) == defaults[name] != getattr(there, name)
    }
    if not taken.get("head_layers", args.model.head_layers):
        taken = {name: value for name, value in taken.items() if name not in OF_HIDDEN_LAYERS}
    if not taken:
        return args
    said = ", ".join(f"{name} {value}" for name, value in taken.items())
    if "pooling" in taken and there.pooling not in POOLINGS:
        _check_trusted(there, model_dir, args.model.trust_remote_code)
        taken["pooling"] = str(Path(model_dir) / there.pooling)
    terminal.say(f"Taken from --model {model_dir}, since nothing else was given: {said}.")
    return dataclasses.replace(args, model=dataclasses.replace(args.model, **taken))


def _check_trusted(there: EncoderClassifierConfig, model_dir: str, trusted: bool) -> None:
    file, _, name = there.pooling.partition(".py:")
    if not trusted:
        raise UserError(
            f"--model {model_dir} has a pooling of its own, {name} in {file}.py, which is code that it carries: read "
            "it, and give --trust_remote_code to let it run, or choose another --pooling."
        )


def read_otherwise(args: Arguments[Any], model_dir: str) -> str | None:
    """Return a sentence where texts would be read otherwise than the model has read them, though nobody asked for it.

    What the model has read is known from the run that made it or, where that is not there, from its config.json.

    Args:
        args: of the recipe.
        model_dir: the folder of the model.
    """
    there = configuration_of_model(args.model.model)
    if "max_length" not in there:
        config = json.loads((Path(model_dir) / "config.json").read_text(encoding="utf-8"))
        there = config.get(READING) or {}
    if "max_length" not in there:
        return None
    read = Reading.of(there).saved(there["max_length"])
    here = args.data.reading.saved(args.data.max_length)
    if "long_texts" in args.given and read["long_texts"] != here["long_texts"]:
        read = {"max_length": read["max_length"]}  # the rest would not go with what was asked for
    differ = {
        name: value
        for name, value in read.items()
        if value is not None and value != here.get(name) and name not in args.given
    }
    if not differ:
        return None
    flags = " ".join(f"--{name} {value}" for name, value in differ.items())
    return f"--model {args.model.model} was trained with {flags}: give that here too, or texts are read otherwise."


def keep_head(model: EncoderClassifier, model_dir: str, args: CustomArguments) -> None:
    """Give a new classifier what fits it of the head of the model that its encoder is from, and say so.

    The pooling is kept where it is the same, the hidden layers where these are the same too, and the output layer
    where the labels are as well. Of a stock model the output layer is kept where it stands on the pooler alone, as
    BERT's does, and is to stand there again. Over layers that are reinitialised nothing is kept, since what it has
    learned is about what these gave.

    Args:
        model: with that encoder, and a pooling and a head that have been begun anew.
        model_dir: the folder of the model that the encoder is from.
        args: of the recipe.
    """
    there = custom_config(model_dir)
    config = there or AutoConfig.from_pretrained(model_dir, trust_remote_code=args.trust_remote_code)
    if args.reinit_layers:
        if there or _stock_heads(config):
            terminal.say(
                f"--model {model_dir} keeps its encoder up to the layers of --reinit_layers {args.reinit_layers}: "
                "over these a new head is begun too."
            )
        return
    if there is None:
        _keep_stock_head(model, config, model_dir)
        return
    if not _same_pooling(there, model_dir, args.pooling):
        terminal.say(
            f"--model {model_dir} keeps its encoder alone: its pooling is {there.pooling}, and for "
            f"{model.config.pooling} a new head is begun."
        )
        return
    kept = ["pooling."]
    begins = f"--model {model_dir} keeps its encoder and its pooling ({there.pooling})"
    if _hidden(there) != _hidden(model.config):
        terminal.say(
            f"{begins}; its head has {_in_words(there)}, and one with {_in_words(model.config)} is begun anew."
        )
    else:
        labels, ours = label_names_of(there), label_names_of(model.config)
        same, said = compared_heads(there, ours, {len(labels)} - {len(ours)})
        kept += ["head.", *(["classifier."] if same else [])]
        terminal.say(f"{begins}, and has a head {said}")
    weights = read_weights(Path(model_dir), lambda name: name.startswith(tuple(kept)))
    if unknown := model.load_state_dict(weights, strict=False).unexpected_keys:
        raise UserError(f"--model {model_dir} has weights that do not fit its config.json: {some(unknown)}.")


def _keep_stock_head(model: EncoderClassifier, there: PretrainedConfig, model_dir: str) -> None:
    heads = _stock_heads(there)
    if not heads:
        return
    inner = f"{model.encoder.base_model_prefix}."
    weights = read_weights(Path(model_dir), lambda name: not name.startswith(inner) or ".pooler." in name)
    head = {name: weight for name, weight in weights.items() if not name.startswith(inner)}
    if not is_on_pooler(model.config) or head.keys() != LINEAR_HEAD or len(head) == len(weights):
        terminal.say(
            f"--model {model_dir} is a {heads[0]}: its encoder is kept, and a new head is begun in place of its own."
        )
        return
    ours = label_names_of(model.config)
    same, said = compared_heads(there, ours, {len(head["classifier.weight"])} - {len(ours)})
    if same:
        model.load_state_dict(head, strict=False)
    terminal.say(f"--model {model_dir} is a {heads[0]}, whose encoder is kept, and has a head {said}")


def _stock_heads(config: PretrainedConfig) -> list[str]:
    return [name for name in config.architectures or [] if "ForSequenceClassification" in name]


def _same_pooling(there: EncoderClassifierConfig, model_dir: str, pooling: str) -> bool:
    """Whether `--pooling` is that of a model: of the same name and, if it is somebody's own, of the same source."""
    if there.pooling in POOLINGS or pooling in POOLINGS:
        return there.pooling == pooling
    carried = Path(model_dir) / file_of(there.pooling)
    # A model from the Hub comes without its code unless that may run.
    source = carried.read_text(encoding="utf-8") if carried.is_file() else None
    return there.pooling == Path(pooling).name and source is not None and source == source_at(pooling)


def _hidden(config: EncoderClassifierConfig) -> tuple[Any, ...]:
    """Return what tells the hidden layers of two heads apart."""
    if not config.head_layers:
        return (0,)
    return config.head_layers, config.head_size or encoder_of(config).hidden_size, config.head_activation


def _in_words(config: EncoderClassifierConfig) -> str:
    if not config.head_layers:
        return "no hidden layers"
    layers, size, activation = _hidden(config)
    return f"{layers} hidden layer{'s' * (layers > 1)} of {size} with {activation}"
