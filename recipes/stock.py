"""Fine-tune the stock classifier: `AutoModelForSequenceClassification`, its own head, its own loss.

    python recipes/stock.py --config recipes/configs/quickstart.yaml
    python recipes/stock.py --dataset my.csv --text_column body --learning_rate 3e-5 --output_dir runs/mine
    accelerate launch --num_processes 2 --multi_gpu recipes/stock.py --config recipes/configs/disaster_tweets.yaml

The custom recipe (recipes/custom.py) is the same script but for the fork: `diff recipes/stock.py recipes/custom.py`.
"""

from bert_recipes.arguments import StockArguments, parse_arguments
from bert_recipes.errors import run_main


def main():
    args = parse_arguments(StockArguments, __doc__, "stock")
    # Here, not above: they take seconds, and --help and a wrong flag need none of them.
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

    from bert_recipes.data import load_data, tokenize
    from bert_recipes.folds import runs
    from bert_recipes.sources import model_source
    from bert_recipes.trainer import RecipeTrainer

    data = load_data(args.data)
    source = model_source(args.model.model)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenized = tokenize(data.splits, tokenizer, args.data.max_length, source)

    for run in runs(args, data, tokenized, source):
        set_seed(args.training.seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            source,
            use_safetensors=True,
            id2label=data.labels.id2label,
            label2id=data.labels.label2id,
            problem_type=data.labels.problem_type,
        )
        run.open()
        trainer = RecipeTrainer(
            model,
            run.training,
            train_dataset=run.tokenized["train"],
            eval_dataset=run.tokenized["validation"],
            processing_class=tokenizer,
        )
        trainer.train(resume_from_checkpoint=run.checkpoint)
        run.finish(trainer)


if __name__ == "__main__":
    run_main(main)
