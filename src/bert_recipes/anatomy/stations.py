"""The stations of the tour, in their order."""

from collections.abc import Callable

from bert_recipes.anatomy.answers import decide, loss, problem, splits, swallowed
from bert_recipes.anatomy.beyond import attention, classes, family, which
from bert_recipes.anatomy.inputs import needed, tokenizer
from bert_recipes.anatomy.inside import cls, head, loaded, more_labels, outputs, trees
from bert_recipes.anatomy.tour import Station
from bert_recipes.anatomy.traps import traps

STATIONS: tuple[Callable[..., Station], ...] = (
    *(loaded, trees, more_labels, tokenizer, needed),  # what there is, and what goes in
    *(outputs, cls, head, decide),  # from hidden states to an answer
    *(loss, problem, swallowed, splits),  # labels
    *(attention, classes, family, traps, which),  # beyond the model
)
