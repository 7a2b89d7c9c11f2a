"""Every pooling by hand."""

import pytest
import torch

from bert_recipes.modeling.pooling import POOLINGS


class Output:
    last_hidden_state = torch.arange(12.0).reshape(1, 3, 4)
    pooler_output = torch.full((1, 4), 7.0)
    hidden_states = tuple(torch.full((1, 3, 4), float(i)) for i in range(5))


BY_HAND = {
    "pooler": [7, 7, 7, 7],
    "cls": [0, 1, 2, 3],
    "mean": [2, 3, 4, 5],
    "max": [4, 5, 6, 7],
    "mean_max": [2, 3, 4, 5, 4, 5, 6, 7],
    "attention": [2, 3, 4, 5],
    "cls_last4": [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4,
    "layer_mix": [2, 2, 2, 2],
}


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings_by_hand(name):
    config = type("Config", (), {"hidden_size": 4, "num_hidden_layers": 4})
    pooled = POOLINGS[name](config)(Output, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(pooled.detach(), torch.tensor([BY_HAND[name]], dtype=torch.float32))


def test_attention_and_layer_mix_follow_their_weights():
    config = type("Config", (), {"hidden_size": 4, "num_hidden_layers": 4})
    attention, mix = POOLINGS["attention"](config), POOLINGS["layer_mix"](config)
    torch.nn.init.eye_(attention.projection.weight)
    torch.nn.init.zeros_(attention.projection.bias)
    torch.nn.init.constant_(attention.context, 1.0)
    mask, hidden = torch.tensor([[1, 1, 0]]), Output.last_hidden_state[0, :2]
    shares = torch.tanh(hidden).sum(1).softmax(0)
    torch.testing.assert_close(attention(Output, mask)[0], shares @ hidden)
    mix.scores.data = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    mix.gamma.data = torch.tensor(2.0)
    expected = 2 * (mix.scores.softmax(0) * torch.arange(5.0)).sum()
    torch.testing.assert_close(mix(Output, mask), expected.expand(1, 4))
