"""Fine-tune a classifier of your own: the plain `AutoModel`, your pooling, your head, your loss.

    python recipes/custom.py --config recipes/configs/quickstart.yaml
    python recipes/custom.py --pooling mean --class_weights balanced --output_dir runs/mine
    accelerate launch --num_processes 2 --multi_gpu recipes/custom.py --config recipes/configs/disaster_tweets.yaml

The stock recipe (recipes/stock.py) is the same script but for the fork: `diff recipes/stock.py recipes/custom.py`.
"""

from bert_recipes.arguments import CustomArguments, parse_arguments
from bert_recipes.errors import run_main


def main():
    args = parse_arguments(CustomArguments, __doc__, "custom")
    # Here, not above: they take seconds, and --help and a wrong flag need none of them.
    from transformers import AutoTokenizer, set_seed

    from bert_recipes.data import load_data, tokenize
    from bert_recipes.encoders import build_classifier
    from bert_recipes.folds import runs
    from bert_recipes.losses import make_loss
    from bert_recipes.sources import model_source
    from bert_recipes.trainer import PerExampleTrainer

    data = load_data(args.data)
    source = model_source(args.model.model)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenized = tokenize(data.splits, tokenizer, args.data.max_length, source)

    for run in runs(args, data, tokenized, source):
        set_seed(args.training.seed)
        labels = run.tokenized["train"]["labels"]
        loss = make_loss(args.model, args.training.label_smoothing_factor, data.labels, labels)
        model = build_classifier(source, args.model, data.labels, args.training.gradient_checkpointing)
        run.open()
        trainer = PerExampleTrainer(
            model,
            run.training,
            train_dataset=run.tokenized["train"],
            eval_dataset=run.tokenized["validation"],
            processing_class=tokenizer,
            loss=loss,
            layer_decay=args.model.layer_decay,
            head_learning_rate=args.model.head_learning_rate,
        )
        trainer.train(resume_from_checkpoint=run.checkpoint)
        run.finish(trainer)


if __name__ == "__main__":
    run_main(main)
