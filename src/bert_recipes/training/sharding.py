"""What FSDP shards one by one."""

from typing import Any


def sharded_classes(model: Any) -> list[str]:
    """Return the names of the classes whose modules FSDP is to shard one by one: the model's own, without those that
    hold its input embeddings.

    transformers names the encoder's layers and BERT's `BertEmbeddings`. accelerate (1.15) also shards the input
    embeddings by themselves, which fails where they are a part of what is sharded already.
    """
    embeddings = model.get_input_embeddings()
    holders = {type(module).__name__ for module in model.modules() if embeddings in [*module.modules()][1:]}
    return [name for name in model._no_split_modules or () if name not in holders]
