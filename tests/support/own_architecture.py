"""The folder of a model whose architecture transformers does not have: its code lies beside its weights."""

import json

import torch
from safetensors.torch import save_file

CODE = {
    # transformers keeps the class of the model for that of the configuration: another trace is another class.
    "configuration_mixer.py": """
# {trace}
from transformers import PretrainedConfig

class MixerConfig(PretrainedConfig):
    model_type = "mixer"

    def __init__(self, vocab_size=20, hidden_size=16, num_hidden_layers=2, max_position_embeddings=64, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        self.max_position_embeddings = max_position_embeddings
""",
    "layers_of_mixer.py": """
from torch import nn

class Layer(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.dense = nn.Linear(size, size)

    def forward(self, hidden, mask):
        mean = (hidden * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        return hidden + self.dense(hidden + mean).tanh()
""",
    "modeling_mixer.py": """
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from .configuration_mixer import MixerConfig
from .layers_of_mixer import Layer

Path("{trace}").touch()

class MixerBase(PreTrainedModel):
    config_class = MixerConfig
    base_model_prefix = "mixer"

class MixerModel(MixerBase):
    def __init__(self, config):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config.hidden_size) for _ in range(config.num_hidden_layers))
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, output_hidden_states=None):
        mask = attention_mask.unsqueeze(-1).to(self.dtype)
        hidden = self.embeddings(input_ids)
        every = [hidden]
        for layer in self.layers:
            hidden = layer(hidden, mask)
            every.append(hidden)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden,
            pooler_output=torch.tanh(self.pooler(hidden[:, 0])),
            hidden_states=tuple(every) if output_hidden_states else None,
        )

class MixerForSequenceClassification(MixerBase):
    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mixer = MixerModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.classifier(self.mixer(input_ids, attention_mask).pooler_output)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
""",
}
AUTO_MAP = {
    "AutoConfig": "configuration_mixer.MixerConfig",
    "AutoModel": "modeling_mixer.MixerModel",
    "AutoModelForSequenceClassification": "modeling_mixer.MixerForSequenceClassification",
}


def write_own_architecture(folder, tokenizer, trace, model_type="mixer", classes=AUTO_MAP):
    """Write the folder of such a model; its code makes the file `trace` when it runs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, code in CODE.items():
        (folder / name).write_text(code.replace("{trace}", str(trace)))
    values = {"model_type": model_type, "auto_map": classes, "architectures": ["MixerModel"], "vocab_size": 20}
    (folder / "config.json").write_text(json.dumps(values))
    torch.manual_seed(0)
    names = ("embeddings", "layers.0.dense", "layers.1.dense", "pooler")
    weights = {f"{name}.weight": torch.randn(20 if name == "embeddings" else 16, 16) / 4 for name in names}
    save_file(weights | {f"{name}.bias": torch.zeros(16) for name in names[1:]}, folder / "model.safetensors")
    tokenizer.save_pretrained(folder)
    names_of_inputs = {"model_input_names": ["input_ids", "attention_mask"]}
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | names_of_inputs))
