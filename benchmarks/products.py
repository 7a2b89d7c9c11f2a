"""Measure the matrix products of a layer of BERT alone: what a training could reach if nothing else took time.

    python -m benchmarks.products
    python -m benchmarks.products --tokens 1024 --hidden_size 384

Each product is that of a linear layer in bfloat16, forward and for both gradients; attention is left out. The share is
of the rate of a product of square matrices, as benchmarks/bench.py measures it.
"""

import time

from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.reporting.documents import markdown_table

SECONDS = 1.0


def main():
    parser = ScriptParser(__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_088, 4_352, 16_384, 65_536], help="of a step")
    parser.add_argument("--hidden_size", type=int, default=768, help="(768, as bert-base)")
    args = parser.parse_args()
    import torch

    from benchmarks import measures

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = found or torch.device("cpu")
    rate = measures.matrix_rate(device, torch.bfloat16)
    size = args.hidden_size
    # Query, key, value and what mixes the heads; up and down again.
    linear = [(size, size)] * 4 + [(size, 4 * size), (4 * size, size)]
    rows = []
    for tokens in args.tokens:
        made = [
            [torch.randn(shape, device=device).bfloat16() for shape in ((tokens, n), (n, m), (tokens, m))]
            for n, m in linear
        ]

        def layer(made=made):
            for inputs, weight, gradient in made:
                inputs @ weight
                gradient @ weight.t()
                inputs.t() @ gradient

        layer()
        measures.synchronize(device)
        started, times = time.perf_counter(), 0
        while times < 3 or time.perf_counter() - started < SECONDS:
            layer()
            measures.synchronize(device)
            times += 1
        seconds = (time.perf_counter() - started) / times
        operations = 6 * tokens * sum(n * m for n, m in linear)
        rows.append([f"{tokens:,}", f"{1e3 * seconds:.2f}", f"{operations / seconds / rate:.0%}"])
    print(f"{measures.machine(device)}; matrix product {rate / 1e9:,.0f} GFLOP/s")
    print(markdown_table(["tokens", "ms a layer", "share of matrix rate"], rows, "rrr"))


if __name__ == "__main__":
    run_main(main)
