"""What a class or a function that was given as an object becomes in a file."""

import pytest
import torch

from bert_recipes.errors import UserError
from bert_recipes.modeling.source_code import source_of


def outer():
    bound = 2

    class Alone(torch.nn.Module):
        pass

    def alone(logits, labels):
        return logits

    def bound_to_it(logits, labels):
        return logits * bound

    return {"Alone": Alone, "alone": alone, "bound_to_it": bound_to_it}


@pytest.mark.parametrize(("name", "uses"), [("Alone", ""), ("alone", ""), ("bound_to_it", " and uses its bound")])
def test_what_is_defined_within_a_function_is_refused_in_a_sentence(name, uses):
    with pytest.raises(UserError) as raised:
        source_of(outer()[name], "loss")
    assert str(raised.value) == f"loss: {name} is defined within a function{uses}: define it outside of one."
