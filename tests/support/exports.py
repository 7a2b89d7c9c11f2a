"""Exports of a classifier so small that NumPy says what it must predict."""

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bert_recipes.evaluation.decoding import probabilities_of

TOKENS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass
class MeanOfTokens:
    """A classifier whose logits are the mean of numbers that each token has, and those of the columns.

    Attributes:
        seed: of its weights.
        num_labels: how many logits it has.
        inputs: the lists of tokens that it takes.
        columns: what is known of each column beside the text.
    """

    seed: int = 0
    num_labels: int = 2
    inputs: tuple[str, ...] = TOKENS[:2]
    columns: dict = field(default_factory=dict)

    def __post_init__(self):
        draw = np.random.default_rng(self.seed)
        shapes = {"input_ids": (500, self.num_labels)}
        if "token_type_ids" in self.inputs:
            shapes["token_type_ids"] = (2, self.num_labels)
        shapes |= {
            name: (len(known["categories"]) + 1 if "categories" in known else 1, self.num_labels)
            for name, known in self.columns.items()
        }
        self.weights = {name: draw.normal(0, 2, shape).astype(np.float32) for name, shape in shapes.items()}

    def logits(self, tokens, cells=None):
        """Return the logits `[num_labels]` of one text without padding, given its tokens by name and its columns."""
        each = self.weights["input_ids"][tokens["input_ids"]]
        if "token_type_ids" in self.inputs:
            each = each + self.weights["token_type_ids"][tokens["token_type_ids"]]
        found = each.mean(axis=0)
        for name, known in self.columns.items():
            weights, cell = self.weights[name], (cells or {}).get(name)
            if "categories" in known:
                found = found + weights[known["categories"].index(cell) + 1 if cell in known["categories"] else 0]
            else:
                found = found + weights[0] * (known["mean"] if cell is None else cell)
        return found

    def write(self, path):
        """Write it as an ONNX graph."""
        nodes, total = [], "of_input_ids"

        def node(kind, inputs, output, **attributes):
            nodes.append(helper.make_node(kind, inputs, [output], **attributes))
            return output

        node("Gather", ["weights_input_ids", "input_ids"], total)
        if "token_type_ids" in self.inputs:
            node("Gather", ["weights_token_type_ids", "token_type_ids"], "of_types")
            total = node("Add", [total, "of_types"], "of_tokens")
        node("Cast", ["attention_mask"], "real", to=TensorProto.FLOAT)
        node("Unsqueeze", ["real", "last"], "kept")
        node("Mul", [total, "kept"], "masked")
        node("ReduceSum", ["masked", "first"], "sums", keepdims=0)
        node("ReduceSum", ["kept", "first"], "counts", keepdims=0)
        total = node("Div", ["sums", "counts"], "means")
        for name, known in self.columns.items():
            if "categories" in known:
                node("Gather", [f"weights_{name}", name], f"of_{name}")
            else:
                node("Unsqueeze", [name, "last"], f"unit_{name}")
                node("Mul", [f"unit_{name}", f"weights_{name}"], f"of_{name}")
            total = node("Add", [total, f"of_{name}"], f"with_{name}")
        node("Identity", [total], "logits")
        constants = [numpy_helper.from_array(weights, f"weights_{name}") for name, weights in self.weights.items()]
        constants += [numpy_helper.from_array(np.array([n]), name) for n, name in ((-1, "last"), (1, "first"))]
        takes = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in self.inputs]
        takes += [
            helper.make_tensor_value_info(name, TensorProto.FLOAT if "mean" in known else TensorProto.INT64, ["batch"])
            for name, known in self.columns.items()
        ]
        gives = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", self.num_labels])]
        graph = helper.make_graph(nodes, "classifier", takes, gives, constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_export(folder, tokenizer, *classifiers, weights=None, **changes):
    """Write an export of one classifier or of several.

    Args:
        folder: of the export.
        tokenizer: of transformers'.
        classifiers: `MeanOfTokens`.
        weights: of each; by default all weigh the same.
        changes: to export.json.
    """
    folder.mkdir(exist_ok=True)
    graphs = []
    for i, classifier in enumerate(classifiers):
        classifier.write(folder / f"model-{i}.onnx")
        weight = (weights or [1 / len(classifiers)] * len(classifiers))[i]
        graphs.append({"file": f"model-{i}.onnx", "weight": weight, "columns": classifier.columns})
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    values = {
        "format": 1,
        "bert_recipes": "0.2.0",
        "engine": "onnx",
        "precision": "float32",
        "graphs": graphs,
        "labels": ["no", "yes", "maybe", "never"][: classifiers[0].num_labels],
        "problem_type": "single_label_classification",
        "max_length": 32,
        "reading": {},
        "inputs": list(classifiers[0].inputs),
        "pad_token_id": tokenizer.pad_token_id,
        "tokenizer": {"sep_token": tokenizer.sep_token, "truncation_side": tokenizer.truncation_side},
        "trained_on": {},
    } | changes
    rewrite(folder, values)
    return folder


def rewrite(folder, values):
    """Write export.json with the digests of the files that are there."""
    files = [path for path in folder.iterdir() if path.name != "export.json"]
    digests = {"files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}}
    (folder / "export.json").write_text(json.dumps(digests | values))


def expected(
    classifier, tokenizer, texts, pairs=None, cells=None, max_length=32, problem="single_label_classification"
):
    """Return the probabilities `[rows, num_labels]`, of tokens as transformers makes them one text after the other."""
    rows = []
    for i, text in enumerate(texts):
        both = ([text],) if pairs is None else ([text], [pairs[i]])
        tokens = tokenizer(*both, truncation=True, max_length=32)
        rows.append(classifier.logits({name: lists[0] for name, lists in tokens.items()}, cells[i] if cells else None))
    return probabilities_of(np.array(rows), problem)
