"""Load, check, split and tokenize many tweets, train one step and predict some; print seconds and the peak memory.

python -m benchmarks.scale --rows 2000000 --predicted 200000
"""

import csv
import gc
import json
import os
import tempfile
import time
from pathlib import Path

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from benchmarks.measures import synthetic_texts
from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.config.arguments import DataArguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.data.loading import load_data
from bert_recipes.data.tokenization import most_tokens, tokenize
from bert_recipes.devices import peak_memory
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import read_stream
from bert_recipes.inference.rows_predictor import write_predictions
from bert_recipes.modeling.pretrained import resolve_model
from bert_recipes.reporting.near_duplicates import clashes
from bert_recipes.training.trainer import RecipeTrainer


def write_tweets(path: Path, count: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write that many random tweets, a third of them of disasters."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "text", "target"])
        out.writerows([i, text, i % 3 == 0] for i, text in enumerate(synthetic_texts(count, tokenizer)))


def measure(rows: int, predicted: int, model: str, folder: Path) -> dict:
    """Return the seconds of each part and the most bytes that the process took."""
    model_dir = resolve_model(model)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    most = min(128, most_tokens(tokenizer, AutoConfig.from_pretrained(model_dir)))
    write_tweets(folder / "train.csv", rows, tokenizer)
    write_tweets(folder / "new.csv", predicted, tokenizer)
    seconds, times = {}, [time.perf_counter()]

    def lap(name):
        times.append(time.perf_counter())
        seconds[name] = times[-1] - times[-2]

    data = load_data(DataArguments(dataset=[str(folder / "train.csv")]))
    lap("load")
    tokenized = tokenize(data.splits, tokenizer, most, model_dir)
    lap("tokenize")
    trainer = RecipeTrainer(
        AutoModelForSequenceClassification.from_pretrained(model_dir),
        RecipeTrainingArguments(
            output_dir=str(folder / "run"),
            max_steps=1,
            per_device_train_batch_size=32,
            save_strategy="no",
            eval_strategy="no",
            load_best_model_at_end=False,
            disable_tqdm=True,
        ),
        train_dataset=tokenized["train"],
        processing_class=tokenizer,
    )
    trainer.train()
    lap("first step")
    clashes(data.labelled_rows)
    lap("near-duplicates")
    trained = peak_memory()
    trainer.save_model(str(folder / "model"))
    # The gradients and Adam's moments, which `make predict` has not beside it; they hang in cycles.
    del trainer
    gc.collect()
    predictor = Predictor.load(str(folder / "model"), max_length=most)
    lap("save and load")
    with (folder / "predictions.csv").open("w") as file:
        *_, written = write_predictions(file, predictor, read_stream(str(folder / "new.csv")))
    lap("predict")
    return {
        "rows": rows,
        "predicted": written,
        "seconds": seconds,
        "peak_bytes_trained": trained,
        "peak_bytes": peak_memory(),
    }


def main():
    parser = ScriptParser(__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="tweets to train on (2,000,000)")
    parser.add_argument("--predicted", type=int, default=200_000, help="tweets to predict (200,000)")
    parser.add_argument("--model", default="embedded:minilm", help="as the recipes take it (embedded:minilm)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
        import datasets

        datasets.config.HF_DATASETS_CACHE = Path(f"{folder}/cache")
        print(json.dumps(measure(args.rows, args.predicted, args.model, Path(folder))))


if __name__ == "__main__":
    run_main(main)
