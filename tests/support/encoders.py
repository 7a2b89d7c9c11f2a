"""Configurations of tiny encoders, one of each family."""

from transformers import (
    AlbertConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    SqueezeBertConfig,
    XLMRobertaConfig,
)

LAYERS = 4


def tiny(config_class, **options):
    names = {
        "hidden_size": 16,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    }
    if config_class is DistilBertConfig:
        names = {"dim": 16, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64}
    return config_class(vocab_size=20, pad_token_id=0, **names, **options)


FAMILY = {
    "bert": tiny(BertConfig),
    "distilbert": tiny(DistilBertConfig),
    "roberta": tiny(RobertaConfig, type_vocab_size=1),
    "albert": tiny(AlbertConfig, embedding_size=8),
    "electra": tiny(ElectraConfig, embedding_size=8),
    "deberta-v2": tiny(DebertaV2Config, relative_attention=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0),
    "xlm-roberta": tiny(XLMRobertaConfig, type_vocab_size=1),
    "mpnet": tiny(MPNetConfig),
    "squeezebert": tiny(SqueezeBertConfig, embedding_size=16),
    "modernbert": tiny(ModernBertConfig, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3),
}
