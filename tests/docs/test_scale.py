"""The programs for clusters that docs/scale.md shows, in local mode."""

import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from support.paths import ROOT
from support.rows import sentence
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import bert_recipes as br

PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "pyspark"])
def test_a_program_for_a_cluster_predicts_what_the_model_does(engine, tiny_bert, tmp_path):
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"needs pip install -e '.[{engine.removeprefix('py')}]'")
    (run := tmp_path / "runs/custom").mkdir(parents=True)
    labels = {"id2label": {0: "other", 1: "great"}}
    AutoModelForSequenceClassification.from_pretrained(tiny_bert, **labels).save_pretrained(run / "model")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(run / "model")
    (run / "run.yaml").write_text(yaml.safe_dump({"recipe": "stock", "max_length": 32, "id_column": "id"}))
    (run / "metrics.json").write_text("{}")
    frame = pd.DataFrame({"id": [f"r{i}" for i in range(200)], "text": [f"{sentence(i)} {i}" for i in range(200)]})
    frame.to_parquet(tmp_path / "new.parquet", row_group_size=50)

    (program,) = [text for text in PROGRAMS if f"import {engine}" in text or f"from {engine}" in text]
    program = program.replace("/shared/", f"{tmp_path}/").replace("ACTORS = 8", "ACTORS = 1")
    (tmp_path / "program.py").write_text(program)
    environment = {"PYSPARK_PYTHON": sys.executable, "RAY_USAGE_STATS_ENABLED": "0", "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env=os.environ | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = pd.read_parquet(tmp_path / "predictions").set_index("id")
    expected = br.load(run).predict(frame).set_index(frame["id"])
    assert list(found.columns) == list(expected.columns) == ["prediction", "other", "great"]
    found = found.loc[expected.index]
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    np.testing.assert_allclose(found[["other", "great"]], expected[["other", "great"]], atol=0.02)
