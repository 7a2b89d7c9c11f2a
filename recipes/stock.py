"""Fine-tune the stock classifier: `AutoModelForSequenceClassification`, its own head, its own loss.

    python recipes/stock.py --config recipes/configs/quickstart.yaml
    python recipes/stock.py --dataset my.csv --text_column body --learning_rate 3e-5 --output_dir runs/mine
    accelerate launch --num_processes 2 --multi_gpu recipes/stock.py --config recipes/configs/disaster_tweets.yaml

The custom recipe (recipes/custom.py) is the same script but for the fork: `diff recipes/stock.py recipes/custom.py`.
"""

from bert_recipes.cli.main import run_main
from bert_recipes.config.arguments import StockArguments
from bert_recipes.config.parsing import Arguments, parse_arguments
from bert_recipes.runs.finished import FinishedRun


def train(args: Arguments[StockArguments]) -> FinishedRun:
    from transformers import AutoModelForSequenceClassification, set_seed

    from bert_recipes.data.loading import load_data
    from bert_recipes.data.tokenization import tokenize
    from bert_recipes.modeling.loading import load_pretrained, load_tokenizer
    from bert_recipes.modeling.pretrained import resolve_model
    from bert_recipes.runs.folds import runs
    from bert_recipes.training.trainer import RecipeTrainer

    data = load_data(args.data)
    trust = args.model.trust_remote_code
    model_dir = resolve_model(args.model.model, trust_remote_code=trust)
    tokenizer = load_tokenizer(model_dir, trust, args.data.normalize)
    tokenized = tokenize(data.splits, tokenizer, args.data.max_length, model_dir, trust, args.data.reading)

    for run in runs(args, data, tokenized, model_dir):
        set_seed(args.training.seed)
        model = load_pretrained(
            AutoModelForSequenceClassification,
            model_dir,
            trust_remote_code=trust,
            id2label=data.task.id2label,
            label2id=data.task.label2id,
            problem_type=data.task.problem_type,
        )
        run.open()
        trainer = RecipeTrainer(
            model,
            run.training,
            train_dataset=run.tokenized["train"],
            eval_dataset=run.tokenized.get("validation"),
            processing_class=tokenizer,
        )
        trainer.train(resume_from_checkpoint=run.checkpoint)
        run.finish(trainer)
    return FinishedRun(args.training.output_dir)


def main() -> None:
    train(parse_arguments(StockArguments, __doc__))


if __name__ == "__main__":
    run_main(main)
