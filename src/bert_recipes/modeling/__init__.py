"""Models, poolings and losses; importing it registers the custom recipe's architecture with the Auto classes."""

from transformers import AutoConfig, AutoModelForSequenceClassification

from bert_recipes.modeling.models import EncoderClassifier, EncoderClassifierConfig

AutoConfig.register(EncoderClassifierConfig.model_type, EncoderClassifierConfig)
AutoModelForSequenceClassification.register(EncoderClassifierConfig, EncoderClassifier)
