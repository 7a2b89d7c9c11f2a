"""What half precision would do to the numbers of a column is said before the training."""

import re

import pytest
import torch
from datasets import Dataset
from support.cuts import rows_of, trainer_of
from support.paths import OWN_CLASSIFIERS

from bert_recipes.training.evaluating import outputs_of
from bert_recipes.training.rounding import describe_rounding

YEARS = [2000, 2005, 2010, 2017, 2024, None]
LARGE = ["65000", "70000", "n/a", "1"]
NORMAL = torch.randn(1000, generator=torch.Generator().manual_seed(0)).tolist()
BFLOAT16, FLOAT16 = torch.bfloat16, torch.float16


@pytest.mark.parametrize(
    ("cells", "dtype", "said"),
    [
        (
            YEARS,
            BFLOAT16,
            r"bfloat16 .* 2005 to 2008, moving them by 2\d% of .* \(x - 2011\) / .* --bf16 false",
        ),
        (YEARS, FLOAT16, None),
        (LARGE, FLOAT16, "in float16 .* 70000 to inf: .* or train with --fp16 false"),
        (LARGE, BFLOAT16, None),
        (NORMAL, BFLOAT16, None),
        ([number * 1e5 for number in NORMAL], BFLOAT16, None),
        ([number / 4 for number in range(400)], BFLOAT16, None),
        ([2017, 2017], BFLOAT16, None),  # it says nothing
        ([1e6, 1e6], FLOAT16, r"1000000 to inf: .* \(x - 1e\+06\) / 1,"),
    ],
)
def test_numbers_that_become_others_are_named(cells, dtype, said):
    train = Dataset.from_dict({"x": cells, "y": ["a"] * len(cells)})
    found = list(describe_rounding({"x": {"mean": 1.0}, "y": {"categories": ["a"]}}, train, dtype))
    assert len(found) == bool(said)
    assert not said or re.search(said, found[0]), found


def with_years(*given):
    rows = rows_of(*given)
    return rows.remove_columns("price").add_column("price", [2000.0 + i % 25 for i in range(len(rows))])


def trainer_with(classifier, folder, tmp_path, bf16):
    choices = {"classifier": f"{classifier}:WithColumns"}
    case = {"kind": "custom", "batch": 25, "accumulation": 1, "rows": 50, "choices": choices}
    return trainer_of(case, folder, tmp_path, bf16=bf16, use_cpu=True)


@torch.no_grad()
def moved(trainer):
    """Return how far bfloat16 moves logits, as a share of how far those of the rows are from one another."""
    model = trainer.model.eval()
    batch = trainer.data_collator(list(trainer._remove_unused_columns(trainer.train_dataset)))
    exact = outputs_of(model, batch).logits
    with torch.autocast("cpu", BFLOAT16):
        found = outputs_of(model, batch).logits
    return ((found - exact).square().mean().sqrt() / exact.std(0).mean()).item()


def test_a_training_in_half_precision_says_so_and_the_cure_cures(tiny_bert, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("support.cuts.rows_of", with_years)
    centred = OWN_CLASSIFIERS.read_text().replace("price[:, None] / 10", "(price[:, None] - 2012) / 7")
    (tmp_path / "mine.py").write_text(centred)
    assert moved(trainer_with(OWN_CLASSIFIERS, tiny_bert, tmp_path, bf16=True)) > 0.1
    assert "Column 'price': in bfloat16 a linear layer rounds" in " ".join(capsys.readouterr().out.split())
    assert moved(trainer_with(tmp_path / "mine.py", tiny_bert, tmp_path, bf16=True)) < 0.02
    capsys.readouterr()
    trainer_with(OWN_CLASSIFIERS, tiny_bert, tmp_path, bf16=False)
    assert "rounds" not in capsys.readouterr().out
