"""Ten times the rows take ten times the time and hardly more memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def measure(rows, predicted, model):
    command = [sys.executable, "-m", "benchmarks.scale", "--rows", rows, "--predicted", predicted, "--model", model]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_two_hundred_thousand_rows_cost_each_what_twenty_thousand_do(tiny_bert):
    few, many = measure(20_000, 2_000, tiny_bert), measure(200_000, 20_000, tiny_bert)
    assert many["predicted"] == 20_000
    assert many["peak_bytes"] < 2**30
    assert many["peak_bytes"] < few["peak_bytes"] + 200 * 2**20
    for name in ("load", "tokenize", "near-duplicates", "predict"):
        # Twice: the machine may be busy with something else for one of the two.
        assert many["seconds"][name] / 10 < 2 * few["seconds"][name], name
    # Setting up does not grow with the rows, but for their order.
    assert many["seconds"]["first step"] < few["seconds"]["first step"] + 5
