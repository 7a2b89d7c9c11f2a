"""Search the settings of the custom recipe: learning rate, epochs, batch size, pooling and layer-wise decay.

    python recipes/search.py --config recipes/configs/disaster_tweets.yaml --model embedded:minilm --trials 30
    python recipes/custom.py --config runs/search/best.yaml

Optuna draws (TPE) and gives up early on what falls behind the median of the trials before it at the same epoch.
Trials are kept in runs/search/trials.sqlite3: the same command goes on where it was stopped. Every trial is validated
on the same rows, so the best score is slightly optimistic: confirm it with other seeds, and against the defaults, by
`make compare`.
"""

from pathlib import Path

from bert_recipes.cli.main import run_main
from bert_recipes.config.arguments import SearchArguments
from bert_recipes.config.parsing import Arguments, parse_arguments


def search(args: Arguments[SearchArguments]) -> Path:
    from bert_recipes.data.loading import load_data
    from bert_recipes.data.tokenization import tokenize
    from bert_recipes.files import write_yaml
    from bert_recipes.modeling.building import build_classifier
    from bert_recipes.modeling.loading import load_tokenizer
    from bert_recipes.modeling.losses import make_loss
    from bert_recipes.modeling.pretrained import resolve_model
    from bert_recipes.terminal import say
    from bert_recipes.training.search import Search

    data = load_data(args.data)
    trust = args.model.trust_remote_code
    model_dir = resolve_model(args.model.model, trust_remote_code=trust)
    tokenizer = load_tokenizer(model_dir, trust, args.data.normalize)
    tokenized = tokenize(data.splits, tokenizer, args.data.max_length, model_dir, trust, args.data.reading)
    loss = make_loss(args.model, args.training.label_smoothing_factor, data.task, tokenized["train"]["labels"])

    search = Search(args, data, model_dir)
    trainer = search.trainer(
        lambda trial: build_classifier(
            model_dir, search.model_arguments(trial), data.task, args.training.gradient_checkpointing, tokenized
        ),
        train_dataset=tokenized["train"],
        eval_dataset=tokenized["validation"],
        processing_class=tokenizer,
        loss=loss,
        head_learning_rate=args.model.head_learning_rate,
    )
    best = search.folder / "best.yaml"
    write_yaml(best, search.run(trainer))
    again = f": {args.start.with_config('custom', best)}" if args.start else ""
    say(f"The best configuration is {best}{again}", whole=True)
    return best


def main() -> None:
    search(parse_arguments(SearchArguments, __doc__))


if __name__ == "__main__":
    run_main(main)
