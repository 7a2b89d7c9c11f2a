"""The page with every flag is the one that the code writes."""

from importlib.metadata import version

import pytest
from support.paths import ROOT

from bert_recipes.cli.flags import flags_page
from bert_recipes.config.arguments import POOLING_NAMES


def pinned(package):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{package}=="))


@pytest.mark.skipif(version("transformers") != pinned("transformers"), reason="another version has other flags")
def test_the_page_is_up_to_date():
    assert (ROOT / "docs/flags.md").read_text(encoding="utf-8") == flags_page(), "run make flags-docs"


def test_the_page_tells_flags_of_every_kind_with_their_defaults():
    page = flags_page()
    assert "| `--max_length` | `128` |" in page
    assert "| `--learning_rate` |" in page
    assert all(name in page for name in POOLING_NAMES)
    assert "| `--resume_from_checkpoint` |" in page
    assert "prediction_loss_only" not in page
