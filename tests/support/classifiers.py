"""Classifiers of three labels on top of an encoder, and texts to give them."""

from bert_recipes.arguments import CustomArguments
from bert_recipes.encoders import build_classifier
from bert_recipes.labels import Labels

TEXTS = ["fire in a storm", "lovely cake", "a"]
LABELS = Labels("multi-class", ["no", "yes", "maybe"], ["label"])


def build(folder, **choices):
    return build_classifier(str(folder), CustomArguments(**choices), LABELS)


def inputs_of(tokenizer, texts=TEXTS):
    return tokenizer(texts, padding=True, return_tensors="pt")
