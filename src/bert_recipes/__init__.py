"""Fine-tune a BERT classifier: the stock one, or the plain encoder under a head and a loss of your own.

Importing this package registers `EncoderClassifier` with the Auto classes of transformers.
"""

import sys

from bert_recipes.help import asks_for_help

# A script that is asked for its --help loads no model, and should not wait for torch.
if not asks_for_help(sys.argv[1:]):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from bert_recipes.models import EncoderClassifier, EncoderClassifierConfig

    AutoConfig.register(EncoderClassifierConfig.model_type, EncoderClassifierConfig)
    AutoModelForSequenceClassification.register(EncoderClassifierConfig, EncoderClassifier)

    __all__ = ["EncoderClassifier", "EncoderClassifierConfig"]
