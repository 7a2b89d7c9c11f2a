"""Training by graphs: on a GPU with real ones, elsewhere with passes that are done again where one is replayed."""

from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from support.cuts import logged, trainer_of
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, BertConfig, BertModel

from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.errors import UserError
from bert_recipes.training import cuda_graphs
from bert_recipes.training.cuda_graphs import EncoderGraphs, capture_graph, why_not

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_A_GPU = pytest.mark.skipif(DEVICE.type == "cpu", reason="only a GPU captures graphs")
# Nine passes over the rows, in micro-batches whose shapes come again.
CASE = {"kind": "stock", "rows": 24, "batch": 4, "accumulation": 2}


class Captured:
    """What captures: it counts, and without a GPU repeats a pass by doing it again."""

    def __init__(self):
        self.passes = self.replays = 0

    def __call__(self, run, device, pool):
        self.passes += 1
        if device.type == "cuda":
            replay = capture_graph(run, device, pool)
        else:
            state = torch.get_rng_state()
            run()
            torch.set_rng_state(state)
            replay = run

        def counted():
            self.replays += 1
            replay()

        return counted


@pytest.fixture
def captured(monkeypatch):
    """Let every training replay graphs, and tell what it captured."""
    found = Captured()
    monkeypatch.setattr(cuda_graphs, "capture_graph", found)
    monkeypatch.setattr("bert_recipes.training.trainer.why_not", lambda *of_training: "")
    # Quick embeddings of a CPU have hooks.
    monkeypatch.setattr("bert_recipes.modeling.cpu_kernels.quicken", lambda model: None)
    return found


def encoder(**config):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertModel(BertConfig(vocab_size=50, **sizes, **config)).to(DEVICE).train()


def classifier(attention="sdpa"):
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    return AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)


def batch(rows=3, length=8, seed=0):
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(50, (rows, length), generator=random)
    mask = torch.arange(length)[None] < torch.tensor([length, *[length - 2] * (rows - 1)])[:, None]
    return {"input_ids": ids.to(DEVICE), "attention_mask": mask.long().to(DEVICE)}


def gradients_of(model, batches, graphs=None, part="pooler_output"):
    torch.manual_seed(1)
    outputs = []
    for inputs in batches:
        output = model(**inputs)[part]
        outputs.append(output.detach().clone())
        output.square().sum().backward()
    return outputs, {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def assert_same(found, expected):
    for one, other in zip(found[0], expected[0], strict=True):
        assert torch.equal(one, other)
    for name, gradient in expected[1].items():
        assert (gradient is None) == (found[1][name] is None), name
        if gradient is not None:
            assert torch.equal(found[1][name], gradient), name


@pytest.mark.parametrize("part", ["pooler_output", "last_hidden_state"])
def test_replayed_passes_have_the_same_outputs_dropout_and_sums_of_gradients(part):
    batches = [batch(seed=seed, length=8 + 2 * (seed % 3 == 2)) for seed in range(9)]
    expected = gradients_of(encoder(), batches, part=part)
    model, capture = encoder(), Captured()
    graphs = EncoderGraphs(model, capture)
    assert_same(gradients_of(model, batches, part=part), expected)
    # Two shapes of both passes; the first of each shape is not captured, so five and two are replayed.
    assert (capture.passes, capture.replays) == (4, 14)
    graphs.close()
    model.zero_grad()
    assert_same(gradients_of(model, batches, part=part), expected)
    assert capture.replays == 14


def test_a_mask_without_padding_is_left_out():
    batches = [{"input_ids": batch(seed=seed)["input_ids"]} for seed in range(4)]
    expected = gradients_of(encoder(), batches)
    model, capture = encoder(), Captured()
    graphs = EncoderGraphs(model, capture)
    graphs.padded = False
    masked = [inputs | {"attention_mask": torch.ones_like(inputs["input_ids"])} for inputs in batches]
    assert_same(gradients_of(model, masked), expected)
    assert capture.replays == 6


def test_what_a_pass_does_not_need_gets_no_gradient():
    model = encoder()
    for parameter in model.encoder.layer[0].parameters():
        parameter.requires_grad = False
    EncoderGraphs(model, Captured())
    _, gradients = gradients_of(model, [batch()] * 3, part="last_hidden_state")
    assert gradients["encoder.layer.0.output.dense.weight"] is None
    assert gradients["encoder.layer.1.output.dense.weight"].abs().sum() > 0


def test_layers_that_are_thawed_later_learn_from_there_on():
    model, capture = encoder(), Captured()
    EncoderGraphs(model, capture)
    for frozen in (True, False):
        for parameter in model.embeddings.parameters():
            parameter.requires_grad = not frozen
        model.zero_grad()
        _, gradients = gradients_of(model, [batch()] * 3)
        assert (gradients["embeddings.word_embeddings.weight"] is None) == frozen
    assert capture.passes == 4


@pytest.mark.parametrize("order", [(3, 3, 3, 2), (2, 3, 3, 3), (3, 3, 2, 3)])
def test_micro_batches_that_are_not_captured_add_to_the_same_gradients(order):
    batches = [batch(rows=rows) for rows in order]
    expected = gradients_of(encoder(), batches)
    model = encoder()
    EncoderGraphs(model, Captured())
    assert_same(gradients_of(model, batches), expected)


def test_gradients_that_were_set_to_none_or_zeroed_begin_anew():
    expected = gradients_of(encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), [batch(seed=5)])
    model = encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    EncoderGraphs(model, Captured())
    for to_none in (True, False, True):
        gradients_of(model, [batch(seed=4)] * 3)
        model.zero_grad(set_to_none=to_none)
        assert_same(gradients_of(model, [batch(seed=5)]), expected)
        model.zero_grad(set_to_none=to_none)


def test_two_passes_before_the_first_goes_back_keep_their_own_memory():
    def two(model):
        torch.manual_seed(1)
        for inputs in [batch()] * 3:
            first, second = (model(**inputs).pooler_output for _ in range(2))
            (first * second.detach() + second).square().sum().backward()
        return [], {name: p.grad.clone() for name, p in model.named_parameters()}

    expected = two(encoder().double())[1]
    model, capture = encoder().double(), Captured()
    EncoderGraphs(model, capture)
    found = two(model)[1]
    # They are added up in another order.
    assert all(torch.allclose(found[name], gradient) for name, gradient in expected.items())
    assert capture.replays > 0


def test_evaluation_hooks_and_passes_without_gradient_go_as_ever():
    model, capture = encoder(), Captured()
    EncoderGraphs(model, capture)
    for _ in range(3):
        with torch.no_grad():
            model(**batch())
        model.eval()(**batch())
        model.train()
    for register in (
        model.encoder.layer[0].register_forward_hook,
        model.embeddings.word_embeddings.weight.register_hook,
    ):
        called = []
        handle = register(lambda *args, called=called: called.append(1))
        gradients_of(model, [batch()] * 3)
        handle.remove()
        assert len(called) == 3
    assert capture.passes == 0


def test_shapes_beyond_the_most_are_not_captured(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MOST_GRAPHS", 1)
    model, capture = encoder(), Captured()
    EncoderGraphs(model, capture)
    gradients_of(model, [batch(length=length) for length in (8, 10) * 3])
    assert capture.passes == 2
    monkeypatch.setattr(cuda_graphs, "MOST_TOKENS", 23)
    replays = capture.replays
    gradients_of(model, [batch()])
    assert capture.replays == replays


@pytest.mark.parametrize("kind", ["stock", "custom"])
def test_a_training_ends_with_the_same_weights(kind, captured, tiny_bert, tmp_path):
    def trained(name, **options):
        trainer = trainer_of(CASE | {"kind": kind}, tiny_bert, tmp_path / name, dropout=0.1, max_steps=9, **options)
        trainer.train()
        assert "forward" not in trainer.model.base_model.__dict__
        return trainer

    plain = trained("plain", cuda_graphs=False)
    assert captured.passes == 0
    graphed = trained("graphed")
    assert captured.replays > 20
    assert logged(graphed) == logged(plain)
    for (name, expected), found in zip(plain.model.named_parameters(), graphed.model.parameters(), strict=True):
        assert torch.equal(found, expected), name


def test_a_capture_that_fails_names_the_cure():
    def fails(run, device, pool):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    EncoderGraphs(model := encoder(), fails)
    with pytest.raises(UserError, match=r"not permitted when stream is capturing\): give --cuda_graphs false"):
        gradients_of(model, [batch()] * 2)


def test_without_memory_for_a_graph_training_goes_on(monkeypatch):
    batches = [batch(seed=seed) for seed in range(4)]
    expected = gradients_of(encoder(), batches)
    model, capture = encoder(), Captured()
    EncoderGraphs(model, capture)
    monkeypatch.setattr(cuda_graphs, "free_memory", lambda device: cuda_graphs.SPARE_MEMORY)
    assert_same(gradients_of(model, batches), expected)
    assert capture.passes == 0
    monkeypatch.setattr(cuda_graphs, "free_memory", lambda device: 2 * cuda_graphs.SPARE_MEMORY)
    gradients_of(model, batches)
    assert capture.passes == 2


@ON_A_GPU
def test_a_capture_takes_no_more_memory_than_it_is_thought_to(monkeypatch):
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=50, num_hidden_layers=4)).to(DEVICE).train()
    graphs = EncoderGraphs(model)
    with torch.autocast("cuda", torch.bfloat16):
        gradients_of(model, [batch(64, 128)])
        torch.cuda.empty_cache()
        before, free = torch.cuda.memory_reserved(), cuda_graphs.free_memory(DEVICE)
        gradients_of(model, [batch(64, 128)])
    assert len(graphs.captured) == 1
    torch.cuda.empty_cache()
    taken = torch.cuda.memory_reserved() - before
    (seen,) = graphs.seen.values()
    assert 0.5 * seen.grown < taken < 2 * seen.grown + sum(4 * p.numel() for p in model.parameters()) + 2**28
    assert free - cuda_graphs.free_memory(DEVICE) < 1.2 * taken + 2**28


@ON_A_GPU
@pytest.mark.parametrize("family", sorted(cuda_graphs.FAMILIES))
def test_each_family_is_captured_as_it_computes(family):
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    sizes = {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128} if family == "distilbert" else sizes
    config = AutoConfig.for_model(family, vocab_size=50, **sizes)

    def made():
        torch.manual_seed(0)
        return AutoModel.from_config(config).to(DEVICE).train()

    for half in (None, torch.bfloat16, torch.float16):
        with torch.autocast("cuda", half, enabled=half is not None):
            batches = [batch(seed=seed) for seed in range(4)]
            expected = gradients_of(made(), batches, part="last_hidden_state")
            model, capture = made(), Captured()
            EncoderGraphs(model, capture)
            assert_same(gradients_of(model, batches, part="last_hidden_state"), expected)
            assert capture.replays == 6


def test_why_not_says_what_stands_against_graphs():
    args = {"device": torch.device("cuda"), "torch_compile": False, "gradient_checkpointing": False}
    model, alone = classifier(), DistributedType.NO
    assert why_not(model, SimpleNamespace(**args), alone) == ""
    for changed, reason in (
        ({"device": torch.device("cpu")}, "they are for GPUs"),
        ({"torch_compile": True}, "--torch_compile"),
        ({"gradient_checkpointing": True}, "--gradient_checkpointing"),
    ):
        assert reason in why_not(model, SimpleNamespace(**args | changed), alone)
    for distribution in (DistributedType.MULTI_GPU, DistributedType.FSDP, DistributedType.DEEPSPEED):
        assert "one process without sharding" in why_not(model, SimpleNamespace(**args), distribution)
    assert "plain encoders of bert, distilbert" in why_not(torch.nn.Linear(2, 2), SimpleNamespace(**args), alone)
    assert "attention by sdpa, not by eager" in why_not(classifier("eager"), SimpleNamespace(**args), alone)


def test_graphs_that_cannot_be_are_refused(tiny_bert, tmp_path, monkeypatch):
    trainer = trainer_of(CASE, tiny_bert, tmp_path)
    monkeypatch.setattr("bert_recipes.training.trainer.why_not", lambda *of_training: "they are red")
    trainer.args.cuda_graphs = True
    with pytest.raises(UserError, match="--cuda_graphs true cannot be honoured: they are red"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_without_a_gpu_they_are_refused_with_the_flags(tmp_path):
    if DEVICE.type == "cuda":
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="--cuda_graphs True would be ignored: it needs a GPU by CUDA"):
        RecipeTrainingArguments(output_dir=str(tmp_path), cuda_graphs=True)
