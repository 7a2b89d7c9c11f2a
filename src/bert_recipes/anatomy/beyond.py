"""The stations beyond the model: attention, the other classes, the family, and which model to take."""

import inspect

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PretrainedConfig, set_seed
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING

from bert_recipes.anatomy.answers import tiny_config
from bert_recipes.anatomy.measured import measured
from bert_recipes.anatomy.tour import (
    Bars,
    Block,
    Cell,
    Check,
    Code,
    Heat,
    Rays,
    Said,
    Station,
    Table,
    Tour,
    numbers,
    source_of,
)
from bert_recipes.config.arguments import CustomArguments
from bert_recipes.modeling.building import build_classifier
from bert_recipes.task import Task


@torch.no_grad()
def attention_of_cls(plain, encoding):
    """Return the last layer's attention of the first token, `[heads, length]`; needs attn_implementation="eager"."""
    return plain(**encoding, output_attentions=True).attentions[-1][0, :, 0]


@torch.no_grad()
def change_without(plain, encoding, word, mask_id):
    """Return how far the first token's hidden state moves when a word's pieces are masked."""
    masked = encoding["input_ids"].clone()
    masked[0, [i for i, of in enumerate(encoding.word_ids()) if of == word]] = mask_id
    before = plain(**encoding).last_hidden_state[0, 0]
    after = plain(**{**encoding, "input_ids": masked}).last_hidden_state[0, 0]
    return torch.dist(before, after).item()


@torch.no_grad()
def cls_by_hand(plain, encoding):
    """Take what the last layer's attention gathers for the first token: a weighted sum over all tokens' values."""
    attention = plain.encoder.layer[-1].attention.self
    gathered = []
    hook = attention.register_forward_hook(lambda module, args, output: gathered.append(output[0]))
    output = plain(**encoding, output_attentions=True, output_hidden_states=True)
    hook.remove()
    weights = output.attentions[-1][0, :, 0]  # [heads, length]
    values = attention.value(output.hidden_states[-2])[0]  # [length, hidden]
    by_head = values.view(len(values), len(weights), -1).transpose(0, 1)  # [heads, length, hidden / heads]
    return (weights[:, None] @ by_head).flatten(), gathered[0][0, 0].flatten()


def attention(tour: Tour) -> Station:
    """Attention of the first token over the words, drawn."""
    encoding = tour.tokenizer(tour.text, truncation=True, max_length=64, return_tensors="pt")
    code = source_of(cls_by_hand, attention_of_cls, change_without)
    attentions = attention_of_cls(tour.plain, encoding)
    word_ids = encoding.word_ids()
    words = sorted({i for i in word_ids if i is not None})
    shown = [tour.text[slice(*encoding.word_to_chars(i))].strip() for i in words]
    of_word = torch.stack(
        [attentions[:, [p for p, of in enumerate(word_ids) if of == i]].sum(1) for i in words], dim=1
    )
    mean = of_word.mean(0)
    rows = [(Said("mean"), mean.tolist())]
    rows += [(Said("head", number=i), head.tolist()) for i, head in enumerate(of_word, start=1)]
    first = tour.tokenizer.cls_token
    rays = Rays(first, shown, mean.tolist(), Said("rays", cls=first))
    blocks: list[Block] = [Said("why"), rays, Heat(shown, rows, Said("heat"))]
    special = attentions.mean(0)[[i for i, of in enumerate(word_ids) if of is None]].sum()
    checks = [
        Check(Said("sums_to_one"), torch.allclose(attentions.sum(-1), torch.ones(len(attentions)), atol=1e-5)),
        Check(
            Said("words_and_special", words=numbers(mean.sum(), 2), special=numbers(special, 2)),
            torch.allclose(mean.sum() + special, torch.tensor(1.0), atol=1e-5),
        ),
    ]
    elsewhere = None
    if tour.plain.config.model_type == "bert":
        by_hand, gathered = cls_by_hand(tour.plain, encoding)
        checks.insert(0, Check(Said("weighted_sum"), torch.allclose(by_hand, gathered, atol=1e-5)))
    else:
        elsewhere = Said("not_by_hand")
    if tour.tokenizer.mask_token_id is not None and len(words) > 1:
        change = [change_without(tour.plain, encoding, i, tour.tokenizer.mask_token_id) for i in words]
        by_change = sorted(zip(shown, mean.tolist(), change, strict=True), key=lambda row: -row[2])
        most = max(change)
        blocks.append(
            Table(
                [[Code(w), numbers(a, 3), numbers(c / most, 2)] for w, a, c in by_change[:8]],
                [Said("word"), Said("attention"), Said("change")],
                title=Said("by_change"),
            )
        )
        blocks.append(Said("rank", rank=numbers(_rank_correlation(mean, torch.tensor(change)), 2)))
    return Station("attention", code, blocks, checks, elsewhere=elsewhere)


def _rank_correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    ranks = torch.stack([a.argsort().argsort(), b.argsort().argsort()]).double()
    return torch.corrcoef(ranks)[0, 1]


CLASSES = {
    "BertModel": ("for_features", 5, []),
    "BertForSequenceClassification": ("for_text", 5, []),
    "BertForTokenClassification": ("for_tokens", 5, []),
    "BertForQuestionAnswering": ("for_answers", 2, []),
    "BertForMultipleChoice": ("for_choices", 5, [3]),
    "BertForNextSentencePrediction": ("for_next", 5, []),
    "BertForMaskedLM": ("for_words", 5, []),
    "BertForPreTraining": ("for_pretraining", 5, []),
}


@torch.no_grad()
def ask(class_name, num_labels, choices):
    """Build a class of the family on a tiny BERT, and give it a batch of 2 texts of 7 tokens."""
    model = getattr(transformers, class_name)(tiny_config(num_labels=num_labels)).eval()
    return model, model(input_ids=torch.full([2, *choices, 7], 5))


def classes(tour: Tour) -> Station:
    """The other classes on the same encoder."""
    rows: list[list[Cell]] = []
    encoders, outputs = [], {}
    for name, (purpose, num_labels, choices) in CLASSES.items():
        model, output = ask(name, num_labels, choices)
        encoders.append(type(model.base_model).__name__)
        tops = [child for child_name, child in model.named_children() if child is not model.base_model]
        top = ", ".join(type(child).__name__ for child in tops) if model is not model.base_model else ""
        outputs[name] = {key: list(value.shape) for key, value in output.items()}
        shapes = ", ".join(f"{key} {size}" for key, size in outputs[name].items())
        rows.append([Code(name), Said(purpose), Code(top), Code(shapes)])
    header = [Said("class"), Said("purpose"), Said("on_top"), Said("returns")]
    checks = [
        Check(Said("same_encoder"), set(encoders) == {"BertModel"}),
        Check(
            Said("one_row_each"),
            outputs["BertForSequenceClassification"]["logits"] == [2, 5]
            and outputs["BertForTokenClassification"]["logits"] == [2, 7, 5],
        ),
    ]
    return Station("classes", source_of(ask), [Table(rows, header, marked=[1])], checks)


# What the configuration of each published checkpoint says where it differs from its class's defaults.
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
FAMILY = {
    "google-bert/bert-base-uncased": ("bert", {}),
    "distilbert/distilbert-base-uncased": ("distilbert", {}),
    "FacebookAI/roberta-base": (
        "roberta",
        {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
    ),
    "albert/albert-base-v2": ("albert", {"vocab_size": 30000, "embedding_size": 128, **BASE}),
    "google/electra-base-discriminator": ("electra", {"embedding_size": 768, **BASE}),
    "SpanBERT/spanbert-base-cased": ("bert", {"vocab_size": 28996}),
    "microsoft/deberta-v3-base": (
        "deberta-v2",
        {
            "vocab_size": 128100,
            "type_vocab_size": 0,
            "relative_attention": True,
            "position_buckets": 256,
            "position_biased_input": False,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            **BASE,
        },
    ),
    "answerdotai/ModernBERT-base": ("modernbert", {}),
}
HAS_POOLER = {"bert", "roberta", "albert"}


def relative(model_type, options):
    """Build both models without weights, from a configuration alone, on the meta device."""
    config = AutoConfig.for_model(model_type, **options)
    with torch.device("meta"):
        plain = AutoModel.from_config(config)
        stock = AutoModelForSequenceClassification.from_config(config)
    return config, plain, stock


def family(tour: Tour) -> Station:
    """What differs among BERT's relatives."""
    rows: list[list[Cell]] = []
    sizes, as_expected = [], []
    for name, (model_type, options) in FAMILY.items():
        config, plain, stock = relative(model_type, options)
        pooler = getattr(plain, "pooler", None) is not None
        in_stock = getattr(stock.base_model, "pooler", None) is not None
        as_expected.append(pooler == (model_type in HAS_POOLER))
        size = sum(p.numel() for p in plain.parameters())
        head = [child for child_name, child in stock.named_children() if child is not stock.base_model]
        rows.append(
            [
                Code(name.partition("/")[2]),
                Said("pooler_in_both") if in_stock else Said("pooler_in_plain") if pooler else Said("none"),
                Code(", ".join(type(child).__name__ for child in head)),
                Said("none") if not getattr(config, "type_vocab_size", None) else str(config.type_vocab_size),
                Code(_special_tokens(config)),
                _positions(config),
            ]
        )
        sizes.append((Code(name.partition("/")[2]), size, f"{size / 1e6:.1f} M", model_type == "bert"))
    header = [Said(k) for k in ("checkpoint", "pooler", "stock_head", "types", "special", "positions")]
    checks = [
        Check(Said("poolers"), all(as_expected)),
        Check(Said("albert_shares"), sizes[3][1] < sizes[0][1] / 9),
        Check(Said("vocabulary_weighs"), sizes[6][1] > 1.6 * sizes[0][1]),
    ]
    return Station("family", source_of(relative), [Table(rows, header), Bars(sizes, Said("sizes"))], checks)


def _special_tokens(config: PretrainedConfig) -> str:
    tokenizer = TOKENIZER_MAPPING[type(config)]
    classes = tokenizer if isinstance(tokenizer, tuple) else (tokenizer,)
    of = inspect.signature(next(c for c in classes if c is not None).__init__).parameters
    if "cls_token" not in of:  # a tokenizer without a class of its own keeps them in its file
        return f"{config.cls_token_id} {config.sep_token_id} {config.pad_token_id}"
    return " ".join(of[f"{name}_token"].default for name in ("cls", "sep", "pad"))


def _positions(config: PretrainedConfig) -> Said:
    most = config.max_position_embeddings
    if config.model_type == "roberta":
        return Said("offset", most=most - config.pad_token_id - 1, stored=most)
    if config.model_type == "deberta-v2":
        return Said("relative", most=most)
    return Said("rotary", most=most) if config.model_type == "modernbert" else Said("learned", most=most)


def zero_point(source, num_labels):
    """Build the stock model and the custom recipe's, each after the same seed."""
    labels = Task("multi-class" if num_labels > 2 else "binary", [f"LABEL_{i}" for i in range(num_labels)], ["label"])
    set_seed(42)
    stock = AutoModelForSequenceClassification.from_pretrained(source, num_labels=num_labels)
    set_seed(42)
    custom = build_classifier(source, CustomArguments(pooling="pooler"), labels)
    return stock.eval(), custom.eval()


def which(tour: Tour) -> Station:
    """The advice, and what this project measured."""
    wish: list[list[Cell]] = [
        [Said("change_nothing"), Code("make recipe-stock")],
        [Said("change_anything"), Code("make recipe-custom")],
    ]
    sure: list[list[Cell]] = [
        [Said("unsure"), Said("stock_first"), Code("make recipe-stock")],
        [Said("suspecting"), Said("then_compare"), Code("make compare")],
        [Said("certain"), Said("plain_at_once"), Code("make recipe-custom")],
    ]
    blocks: list[Block] = [
        Table(wish, [Said("you_want"), Said("take")]),
        Table(sure, [Said("how_sure"), Said("advice"), Said("command")]),
    ]
    blocks.append(measured())
    code, checks, elsewhere = source_of(zero_point), [], None
    if tour.has_bert_head and set(tour.about_stock["missing_keys"]) == {"classifier.weight", "classifier.bias"}:
        stock, custom = zero_point(tour.source, tour.num_labels)
        with torch.no_grad():
            same = torch.equal(stock(**tour.tokens).logits, custom(**tour.tokens).logits)
        checks.append(Check(Said("same_model"), same))
    elif tour.has_bert_head and not tour.pooler_is_stored:
        elsewhere = Said("new_pooler")
    else:
        elsewhere = Said("other_head")
    return Station("which", code, blocks, checks, elsewhere=elsewhere)
