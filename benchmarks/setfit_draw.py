"""Train and score SetFit on the draws of a data set, one small JSON file for each.

    python benchmarks/setfit_draw.py --rows draws.json --model FOLDER --output runs/few-rows

It imports nothing of this project, since SetFit lives in an environment of its own; `python -m benchmarks.few_rows
--write_draws FOLDER` writes its rows. Settings are those of the paper (arXiv:2209.11055): 20 iterations (R), batches
of 16 pairs, one epoch, a learning rate of 2e-5, and a logistic regression on the embeddings. A GPU is used if there is
one. A draw whose result is there is not made again; the smallest draws come first.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="the draws of a data set, as few_rows.py writes them")
    parser.add_argument("--model", type=Path, required=True, help="folder of the embedding model")
    parser.add_argument("--output", type=Path, required=True, help="where the results go")
    parser.add_argument("--bf16", action="store_true", help="train and predict in bfloat16, by autocast")
    parser.add_argument("--shard", default="1/1", help="i/n: the i-th of n processes that share the draws")
    return parser.parse_args()


def score(rows: dict, draw: dict, model_dir: Path, bf16: bool) -> dict:
    """Return the scores of one draw, and the seconds from loading the model to the last prediction."""
    import torch
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.metrics import accuracy_score, f1_score

    train, test, max_length = rows["train"], rows["test"], rows["max_length"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = time.perf_counter()
    model = SetFitModel.from_pretrained(str(model_dir))
    model.model_body.max_seq_length = max_length
    precision = torch.autocast(device, torch.bfloat16, enabled=bf16)
    with tempfile.TemporaryDirectory() as folder, precision:
        settings = TrainingArguments(
            output_dir=folder,
            num_iterations=20,
            batch_size=16,
            num_epochs=1,
            body_learning_rate=2e-5,
            max_length=max_length,
            seed=draw["draw"],
            save_strategy="no",
            report_to="none",
            show_progress_bar=False,
        )
        drawn = {name: [train[name][row] for row in draw["rows"]] for name in ("text", "label")}
        trainer = Trainer(model=model, args=settings, train_dataset=Dataset.from_dict(drawn))
        trainer.train()
        predicted = [str(label) for label in model.predict(test["text"], show_progress_bar=False)]
    seconds = time.perf_counter() - start
    return {
        "accuracy": accuracy_score(test["label"], predicted),
        "macro_f1": f1_score(test["label"], predicted, average="macro"),
        "seconds": seconds,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "bf16": bf16,
    }


def main() -> None:
    args = parse_arguments()
    rows = json.loads(args.rows.read_text(encoding="utf-8"))
    first, of = (int(number) for number in args.shard.split("/"))
    args.output.mkdir(parents=True, exist_ok=True)
    for draw in sorted(rows["draws"], key=lambda draw: (draw["size"], draw["draw"]))[first - 1 :: of]:
        result = args.output / f"{rows['dataset']}-{draw['size']}-{draw['draw']}-setfit.json"
        if result.is_file():
            continue
        names = {"dataset": rows["dataset"], "size": draw["size"], "draw": draw["draw"], "method": "setfit"}
        found = names | score(rows, draw, args.model, args.bf16)
        beside = result.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        beside.rename(result)
        print(f"{result.name}: {found['accuracy']:.3f} in {found['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
