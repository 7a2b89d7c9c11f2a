"""The recipes, installed as `bert_recipes.recipes`: `python -m bert_recipes.recipes.stock --config FILE`."""
