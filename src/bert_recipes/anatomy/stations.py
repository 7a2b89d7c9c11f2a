"""The stations of the tour, in their order."""

from collections.abc import Callable

from bert_recipes.anatomy.answers import decide, loss, problem, splits, swallowed
from bert_recipes.anatomy.beyond import attention, family, which
from bert_recipes.anatomy.inside import cls, head, loaded, more_labels, outputs, tokenizer, trees
from bert_recipes.anatomy.tour import Station
from bert_recipes.anatomy.traps import traps

STATIONS: tuple[Callable[..., Station], ...] = (
    *(loaded, trees, more_labels, tokenizer),  # 1 to 4: what there is
    *(outputs, cls, head, decide),  # 5 to 8: from hidden states to an answer
    *(loss, problem, swallowed, splits),  # 9 to 12: labels
    *(attention, family, traps, which),  # 13 to 16: beyond the model
)
