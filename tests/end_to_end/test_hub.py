"""A recipe's own process and a Hub: from a subset and a base model to a pushed one, and again without the Hub."""

import subprocess
import sys

import pytest
import yaml
from support.hub import TOKEN
from support.paths import RECIPES
from support.rows import sentence

CARD = """---
configs:
- config_name: news
  data_files: news.csv
- config_name: tweets
  data_files: tweets.csv
---
"""


@pytest.fixture
def published(hub, tiny_bert):
    """A Hub with a data set of two subsets and a base model."""
    rows = [f"{i},{sentence(i)} {i},{i % 2}" for i in range(60)]
    tweets = "\n".join(["id,text,label", *rows])
    hub.dataset("owner/texts", {"README.md": CARD, "tweets.csv": tweets, "news.csv": tweets.replace("fire", "cake")})
    hub.model("owner/tiny", tiny_bert)
    return hub


def run(hub, home, *flags, **environment):
    command = [sys.executable, str(RECIPES / "stock.py"), *map(str, flags)]
    environment = hub.environment(home, **environment)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def flags(output, model="owner/tiny"):
    return (
        *("--dataset", "owner/texts:tweets", "--model", model, "--output_dir", output, "--max_length", "32"),
        *("--max_steps", "2", "--bf16", "false", "--per_device_train_batch_size", "8"),
    )


def test_a_run_from_the_hub_is_pushed_and_repeated_without_it(published, tmp_path):
    push = ("--push_to_hub", "--hub_token", TOKEN)
    pushed = run(published, tmp_path / "home", *flags(tmp_path / "mine"), *push)
    assert pushed.returncode == 0, pushed.stderr
    commit = published.repositories["datasets", "owner/texts"].branches["main"]
    configuration = yaml.safe_load((tmp_path / "mine" / "run.yaml").read_text())
    assert configuration["dataset"] == [f"owner/texts:tweets@{commit}"]
    assert ("models", "somebody/mine") in published.repositories
    # What is published meanwhile is not in this run.
    published.dataset("owner/texts", {"tweets.csv": "id,text,label\n0,changed,0\n"})
    asked = len(published.log)
    again = run(
        published,
        tmp_path / "home",
        *("--config", tmp_path / "mine" / "run.yaml", "--output_dir", tmp_path / "again", "--push_to_hub", "false"),
        HF_HUB_OFFLINE="1",
    )
    assert again.returncode == 0, again.stderr
    assert len(published.log) == asked
    for file in ("validation_predictions.csv", "model/model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "mine" / file).read_bytes()


def test_a_refusal_is_the_only_line_and_leaves_nothing(published, tiny_bert, tmp_path):
    published.model("owner/gated", tiny_bert, gated=True)
    refused = run(published, tmp_path / "home", *flags(tmp_path / "run", "owner/gated"))
    assert refused.returncode == 2
    assert "error: --model owner/gated cannot be had from the Hub: owner/gated is gated: accept its" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "run").exists()
