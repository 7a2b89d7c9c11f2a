"""What a run folder says of its configuration."""

import pytest

from bert_recipes.config.saved import configuration_of_model, saved_configuration
from bert_recipes.errors import UserError


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("text_column: [a]\n", "run.yaml: text_column is .*, and takes one value"),
        ("max_length: long\n", "run.yaml: max_length is long, and takes a whole number"),
        ("recipe: custom\nhead_layers: {}\n", "run.yaml: head_layers is .*, and takes one value"),
        ("recipe: []\ntask: x\n", "run.yaml: task is x: take"),
        ("a: 2024-02-30\n", "run.yaml is no YAML"),
    ],
)
def test_a_damaged_configuration_is_one_sentence(text, sentence, tmp_path):
    (tmp_path / "run.yaml").write_text(text)
    for read in (saved_configuration, lambda folder: configuration_of_model(str(folder))):
        with pytest.raises(UserError, match=sentence):
            read(tmp_path)
