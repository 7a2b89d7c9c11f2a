"""Fine-tune a classifier of your own: the plain `AutoModel`, your pooling, your head, your loss.

    python recipes/custom.py --config recipes/configs/quickstart.yaml
    python recipes/custom.py --pooling mean --class_weights balanced --output_dir runs/mine
    accelerate launch --num_processes 2 --multi_gpu recipes/custom.py --config recipes/configs/disaster_tweets.yaml

The stock recipe (recipes/stock.py) is the same script but for the fork: `diff recipes/stock.py recipes/custom.py`.
"""

from bert_recipes.cli.main import run_main
from bert_recipes.config.arguments import CustomArguments
from bert_recipes.config.parsing import Arguments, parse_arguments
from bert_recipes.runs.finished import FinishedRun


def train(args: Arguments[CustomArguments]) -> FinishedRun:
    from transformers import set_seed

    from bert_recipes.data.loading import load_data
    from bert_recipes.data.tokenization import tokenize
    from bert_recipes.modeling.building import build_classifier
    from bert_recipes.modeling.going_on import follow_model
    from bert_recipes.modeling.loading import load_tokenizer
    from bert_recipes.modeling.losses import make_loss
    from bert_recipes.modeling.pretrained import resolve_model
    from bert_recipes.runs.folds import runs
    from bert_recipes.training.trainer import PerExampleTrainer

    data = load_data(args.data)
    trust = args.model.trust_remote_code
    model_dir = resolve_model(args.model.model, trust_remote_code=trust)
    args = follow_model(args, model_dir)
    tokenizer = load_tokenizer(model_dir, trust, args.data.normalize)
    tokenized = tokenize(data.splits, tokenizer, args.data.max_length, model_dir, trust, args.data.reading)

    for run in runs(args, data, tokenized, model_dir):
        set_seed(args.training.seed)
        labels = run.tokenized["train"]["labels"]
        loss = make_loss(args.model, args.training.label_smoothing_factor, data.task, labels)
        model = build_classifier(model_dir, args.model, data.task, args.training.gradient_checkpointing, run.tokenized)
        run.open()
        trainer = PerExampleTrainer(
            model,
            run.training,
            train_dataset=run.tokenized["train"],
            eval_dataset=run.tokenized.get("validation"),
            processing_class=tokenizer,
            loss=loss,
            layer_decay=args.model.layer_decay,
            head_learning_rate=args.model.head_learning_rate,
        )
        trainer.train(resume_from_checkpoint=run.checkpoint)
        run.finish(trainer)
    return FinishedRun(args.training.output_dir)


def main() -> None:
    train(parse_arguments(CustomArguments, __doc__))


if __name__ == "__main__":
    run_main(main)
