"""Fine-tune a BERT classifier: the stock one, or the plain encoder under a head and a loss of your own.

Importing this package registers `EncoderClassifier` with the Auto classes of transformers.
"""

from bert_recipes.models import EncoderClassifier, EncoderClassifierConfig

__all__ = ["EncoderClassifier", "EncoderClassifierConfig"]
