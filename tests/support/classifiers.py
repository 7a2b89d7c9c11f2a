"""Classifiers of three labels on top of an encoder, and texts to give them."""

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.modeling.building import build_classifier
from bert_recipes.task import Task

TEXTS = ["fire in a storm", "lovely cake", "a"]
LABELS = Task("multi-class", ["no", "yes", "maybe"], ["label"])


def build(folder, **choices):
    return build_classifier(str(folder), CustomArguments(**choices), LABELS)


def inputs_of(tokenizer, texts=TEXTS):
    return tokenizer(texts, padding=True, return_tensors="pt")
