"""What a class or a function that was given as an object becomes in a file."""

from types import SimpleNamespace

import pytest
import torch
from torch import float32 as single
from torch import float64, log_softmax
from torch.profiler import ProfilerActivity

from bert_recipes.errors import UserError
from bert_recipes.modeling.pooling import Mean
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


def of_libraries(logits, labels):
    assert ProfilerActivity.CPU.name == "CPU"
    return -log_softmax(logits.to(float64), dim=1)[range(len(labels)), labels]


def under_another_name(logits, labels):
    return logits.to(single).sum(1)


def test_what_comes_from_a_library_is_imported_though_it_does_not_know_its_module():
    there = {}
    exec(source_of(of_libraries, "loss"), there)
    logits, labels = torch.randn(3, 2), torch.tensor([0, 1, 1])
    assert there["of_libraries"](logits, labels).tolist() == of_libraries(logits, labels).tolist()


class OfOurs(Mean):
    def forward(self, outputs, attention_mask):
        return -super().forward(outputs, attention_mask)


def test_a_pooling_of_this_project_is_copied_into_the_file_that_travels_with_a_model():
    source = source_of(OfOurs, "pooling")
    assert "bert_recipes" not in source
    exec(source, there := {"__name__": "alone"})
    outputs, mask = SimpleNamespace(last_hidden_state=torch.randn(2, 3, 4)), torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert torch.equal(there["OfOurs"](None)(outputs, mask), OfOurs(None)(outputs, mask))


def test_what_no_library_has_by_that_name_is_refused_in_a_sentence():
    with pytest.raises(
        UserError, match="under_another_name uses 'single', a dtype that a file cannot hold: put it into"
    ):
        source_of(under_another_name, "loss")
