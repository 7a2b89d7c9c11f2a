"""What a vocabulary has no words for, such as URLs, rewritten by the tokenizer itself.

A saved tokenizer goes on doing so, whoever loads it: a pipeline, an export, another library.
"""

import json
from collections.abc import Callable, Collection
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bert_recipes.errors import UserError, some

# By what `--normalize` calls them, patterns and what takes their place, in the order in which they are applied. URLs
# and mentions are written as the models of TweetEval read them (arXiv:2010.12421).
RULES = {
    "entities": [
        *(("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&apos;", "'"), ("&nbsp;", " ")),
        ("&amp;", "&"),  # the last, or it would make others
    ],
    "urls": [(r"(?i)(?:https?://|\bwww\.)\S+", "http")],
    # Not in an e-mail address; other letters may stand right before one, as in Korean.
    "mentions": [(r"(?<![0-9A-Za-z])@\w+", "@user")],
}
IN_WORDS = {
    "entities": "HTML entities as their characters",
    "urls": "URLs as http",
    "mentions": "mentions as @user",
}


def rewriting(kinds: Collection[str]) -> Callable[[str], str]:
    """Return what rewrites a text by the rules of these kinds."""
    steps = [normalizers.Replace(Regex(pattern), content) for pattern, content in _rules(kinds)]
    return normalizers.Sequence(steps).normalize_str if steps else str


def rewritten_kinds(tokenizer: Any) -> list[str]:
    """Return what a tokenizer rewrites, by what `--normalize` calls it."""
    there = _steps_of(tokenizer.backend_tokenizer) if tokenizer.is_fast else []
    return [kind for kind in RULES if all(step in there for step in _as_json([kind]))]


def normalizing(tokenizer: PreTrainedTokenizerBase, kinds: Collection[str]) -> PreTrainedTokenizerBase:
    """Return a tokenizer that rewrites these kinds, and what it rewrote before, first.

    It is of no class of a model's own: those of transformers make their steps anew when they are loaded, and these
    would be lost.

    Raises:
        UserError: it is written in Python.
    """
    before = rewritten_kinds(tokenizer)
    if set(kinds) <= set(before):
        return tokenizer
    if not tokenizer.is_fast or type(tokenizer).__module__.startswith("transformers_modules."):
        raise UserError(
            f"--normalize is done by a tokenizer.json, and --model {tokenizer.name_or_path} has a tokenizer that is "
            f"written in Python ({type(tokenizer).__name__}): rewrite the texts yourself."
        )
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    own = [step for step in _steps_of(tokenizer.backend_tokenizer) if step not in _as_json(before)]
    state["normalizer"] = {"type": "Sequence", "normalizers": [*_as_json([*kinds, *before]), *own]}
    kept = ("name_or_path", "model_max_length", "padding_side", "truncation_side", "model_input_names")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        **{name: getattr(tokenizer, name) for name in (*kept, "pad_token_type_id", "split_special_tokens")},
        **tokenizer.special_tokens_map,
    )


def normalization_in_words(kinds: Collection[str]) -> str:
    """Return a sentence that says what is rewritten."""
    return f"Texts are read with {some([IN_WORDS[kind] for kind in RULES if kind in kinds])}."


def _rules(kinds: Collection[str]) -> list[tuple[str, str]]:
    return [rule for kind, rules in RULES.items() if kind in kinds for rule in rules]


def _as_json(kinds: Collection[str]) -> list[dict[str, Any]]:
    return [
        {"type": "Replace", "pattern": {"Regex": pattern}, "content": content} for pattern, content in _rules(kinds)
    ]


def _steps_of(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Return the steps of a tokenizer's normalizer, as `tokenizer.json` holds them."""
    if tokenizer.normalizer is None:
        return []
    # The whole tokenizer as JSON would be a vocabulary of megabytes.
    state = json.loads(tokenizer.normalizer.__getstate__())
    return state["normalizers"] if state["type"] == "Sequence" else [state]
