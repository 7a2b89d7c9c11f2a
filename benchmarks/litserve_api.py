"""The classifier of a folder behind LitServe, by a Python that has it: `python litserve_api.py FOLDER PORT DTYPE`.

It answers `POST /predict {"text": "…"}` with probabilities, and predicts what is waiting together, as LitServe does,
up to 64 texts. See benchmarks/serving.py.
"""

import sys

import litserve
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class Classifier(litserve.LitAPI):
    """What LitServe calls, in a process of its own."""

    def __init__(self, folder: str, dtype: str):
        # By its default it waits for no batch to fill, as the service does: other times made it slower.
        super().__init__(max_batch_size=64)
        self.folder, self.dtype = folder, dtype

    def setup(self, device: str) -> None:
        """Load tokenizer and model."""
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        model = AutoModelForSequenceClassification.from_pretrained(self.folder, dtype=self.dtype)
        self.model = model.to(device).eval()

    def decode_request(self, request: dict) -> str:
        """Return the text of a request."""
        return request["text"]

    @torch.inference_mode()
    def predict(self, texts: list[str]) -> list[list[float]]:
        """Return the probabilities of each label, `[texts, num_labels]`."""
        tokens = self.tokenizer(texts, truncation=True, padding=True, return_tensors="pt").to(self.model.device)
        return self.model(**tokens).logits.float().softmax(-1).tolist()

    def encode_response(self, probabilities: list[float]) -> dict:
        """Return the answer to a request."""
        return {"probabilities": probabilities}


if __name__ == "__main__":
    folder, port, dtype = sys.argv[1:]
    server = litserve.LitServer(Classifier(folder, dtype), devices=1)
    server.run(host="127.0.0.1", port=int(port), log_level="warning", generate_client_file=False)
