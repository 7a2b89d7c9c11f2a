"""Twenty rows of a CSV file, and how a folder of files is read."""

from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.loading import load_data

ROWS = "\n".join(f"{i},text number {i},{i % 2}" for i in range(20))


def read(folder, **options):
    return load_data(DataArguments(dataset=str(folder), **options))
