"""Fine-tune a BERT classifier: the stock one, or the plain encoder under a head and a loss of your own."""

__version__ = "0.1.0"
