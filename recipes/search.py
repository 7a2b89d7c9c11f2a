"""Search the settings of the custom recipe: learning rate, epochs, batch size, pooling and layer-wise decay.

    python recipes/search.py --config recipes/configs/disaster_tweets.yaml --model embedded:minilm --trials 30
    python recipes/custom.py --config runs/search/best.yaml

Optuna draws (TPE) and gives up early on what falls behind the median of the trials before it at the same epoch.
Trials are kept in runs/search/trials.sqlite3: the same command goes on where it was stopped. Every trial is validated
on the same rows, so the best score is too kind: confirm it with other seeds, and against the defaults, by `make
compare`.
"""

from bert_recipes.arguments import SearchArguments, parse_arguments
from bert_recipes.errors import run_main


def main():
    args = parse_arguments(SearchArguments, __doc__, "search")
    # Here, not above: they take seconds, and --help and a wrong flag need none of them.
    import yaml
    from transformers import AutoTokenizer

    from bert_recipes import console
    from bert_recipes.data import load_data, tokenize
    from bert_recipes.encoders import build_classifier
    from bert_recipes.files import writing
    from bert_recipes.losses import make_loss
    from bert_recipes.search import Search
    from bert_recipes.sources import model_source

    data = load_data(args.data)
    source = model_source(args.model.model)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenized = tokenize(data.splits, tokenizer, args.data.max_length, source)
    loss = make_loss(args.model, args.training.label_smoothing_factor, data.labels, tokenized["train"]["labels"])

    search = Search(args, data)
    trainer = search.trainer(
        lambda trial: build_classifier(
            source, search.model_arguments(trial), data.labels, args.training.gradient_checkpointing
        ),
        train_dataset=tokenized["train"],
        eval_dataset=tokenized["validation"],
        processing_class=tokenizer,
        loss=loss,
        head_learning_rate=args.model.head_learning_rate,
    )
    best = search.run(trainer)
    with writing(search.folder / "best.yaml") as file:
        yaml.safe_dump(best, file, sort_keys=False, allow_unicode=True)
    console.say(
        f"The best configuration is {search.folder}/best.yaml: make recipe-custom CONFIG={search.folder}/best.yaml"
    )


if __name__ == "__main__":
    run_main(main)
