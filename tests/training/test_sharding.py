"""What FSDP shards one by one: accelerate's own preparation of a model, on one process over gloo."""

import json
import sys

import pytest
from support.started import run

SHARDED = """
import json
import sys
from types import SimpleNamespace

import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch.distributed import init_device_mesh, init_process_group
from torch.distributed.fsdp import FSDPModule
from transformers import AutoModelForSequenceClassification

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.modeling.building import build_classifier
from bert_recipes.task import Task
from bert_recipes.training.sharding import sharded_classes

store, folder, kind, mended = sys.argv[1:]
init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
if kind == "stock":
    model = AutoModelForSequenceClassification.from_pretrained(folder)
else:
    model = build_classifier(folder, CustomArguments(), Task("binary", ["no", "yes"], ["label"]))
model.eval()
inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
expected = model(**inputs).logits
if mended == "mended":
    model._no_split_modules = sharded_classes(model)
options = {"reshard_after_forward": True, "cpu_ram_efficient_loading": False}
plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap", **options)
accelerator = SimpleNamespace(
    state=SimpleNamespace(fsdp_plugin=plugin),
    torch_device_mesh={("shards",): init_device_mesh("cpu", (1,), mesh_dim_names=("shards",))},
    parallelism_config=SimpleNamespace(fsdp_dim_names=("shards",)),
    device=torch.device("cpu"),
    mixed_precision="no",
    is_main_process=True,
)
model = fsdp2_prepare_model(accelerator, model)
logits = model(**inputs).logits
torch.testing.assert_close(logits, expected)
logits.sum().backward()
print(json.dumps(sorted({type(m).__name__ for m in model.modules() if isinstance(m, FSDPModule)})))
"""


def shard(folder, kind, mended, tmp_path):
    command = [sys.executable, "-c", SHARDED, str(tmp_path / "store"), str(folder), kind, mended]
    return run(command)


@pytest.mark.parametrize("kind", ["stock", pytest.param("custom", marks=pytest.mark.slow)])
def test_layers_and_embeddings_are_sharded_one_by_one_and_compute_the_same(kind, tiny_bert, tmp_path):
    done = shard(tiny_bert, kind, "mended", tmp_path)
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout)
    assert "FSDPBertLayer" in names
    assert "FSDPEmbedding" in names
    assert "FSDPBertEmbeddings" not in names


@pytest.mark.slow
def test_what_transformers_names_is_still_more_than_accelerate_can_shard(tiny_bert, tmp_path):
    # Once this fails, sharded_classes may go.
    assert "DTensor" in shard(tiny_bert, "stock", "as it comes", tmp_path).stderr
