"""Several models as one: the mean of finished runs on the same folds, by weights learned on out-of-fold rows alone.

    python recipes/blend.py runs/kaggle runs/baseline-folds
    python recipes/blend.py runs/kaggle runs/stock-folds runs/baseline-folds --output_dir runs/three

Each run was made with --folds, on the same data with the same --folds and --split_seed. The scores of each fold are by
weights, threshold and temperature that were learned on the other folds. The folder is that of a run with folds:
scores, submission, report, and a verdict on the blend beside the best of its runs alone; `recipes/predict.py --model
runs/blend` predicts new texts with all of its runs.
"""

from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("runs", nargs="+", help="folders of finished runs, two or more")
    parser.add_argument("--output_dir", default="runs/blend", help="of the blend (runs/blend)")
    parser.add_argument("--decision", choices=["argmax", "threshold"], help="as in training (that of the first run)")
    parser.add_argument(
        "--submission", choices=["labels", "probabilities"], help="as in training (that of the first run)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a finished run in --output_dir")
    args = parser.parse_args()
    from bert_recipes.runs.blend import make_blend

    make_blend(
        args.runs, args.output_dir, decision=args.decision, submission=args.submission, overwrite=args.overwrite
    )


if __name__ == "__main__":
    run_main(main)
