"""Export a finished run: a folder that predicts where neither torch nor transformers is installed.

    python recipes/export.py --model runs/custom
    python recipes/export.py --model runs/custom --format openvino --int8

The folder, runs/custom/export/, holds the model as a graph, its tokenizer, and parity.json: what the graph predicts
for the run's validation rows beside what the model does. In float32 the two must agree; what int8 costs is said.
`recipes/predict.py --model runs/custom/export` then predicts. docs/deploying.md tells which format to choose.
"""

from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--model", required=True, help="folder of a finished run; one of folds becomes several graphs")
    parser.add_argument(
        "--format", default="onnx", choices=["onnx", "openvino"], help="what runs the graph (onnx, by onnxruntime)"
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="smaller and faster, and the scores change (onnx: dynamic; openvino: calibrated on training rows)",
    )
    parser.add_argument("--output_dir", help="of the export (export/ in the run's folder)")
    parser.add_argument("--overwrite", action="store_true", help="replace an export in --output_dir")
    parser.add_argument("--trust_remote_code", action="store_true", help="let code that the model carries run")
    args = parser.parse_args()
    from bert_recipes.runs.export import export_run

    export_run(
        args.model,
        engine=args.format,
        int8=args.int8,
        output_dir=args.output_dir,
        overwrite=args.overwrite,
        trust_remote_code=args.trust_remote_code,
    )


if __name__ == "__main__":
    run_main(main, "nothing was written; an export that was there is as it was")
