"""Tokenizers of other kinds than BERT's, with tiny vocabularies, and what a tokenizer is given."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BertweetTokenizer, PreTrainedTokenizerFast

from support.rows import WORDS

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def like_roberta(**options):
    """Return a byte-level BPE, as RoBERTa's."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return _fast(inner, **options)


def like_xlm_roberta(**options):
    """Return a unigram model over words that begin with ▁, as XLM-RoBERTa's."""
    pieces = [(token, 0.0) for token in SPECIAL] + [(letter, -5.0) for letter in "▁abcdefghiklmnoprstuvwxy"]
    inner = Tokenizer(models.Unigram([*pieces, *((f"▁{word}", -3.0) for word in WORDS if len(word) > 1)], unk_id=3))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return _fast(inner, **options)


def like_bertweet(folder, **options):
    """Return BERTweet's, which is not fast."""
    letters = sorted(set("".join(WORDS)))
    pieces = [*letters, *(f"{letter}@@" for letter in letters), *(word for word in WORDS if len(word) == 2)]
    (folder / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in pieces))
    pairs = {(word[0], f"{word[1]}</w>") for word in WORDS if len(word) == 2}
    (folder / "bpe.codes").write_text("#version: 0.2\n" + "".join(f"{a} {b} 1\n" for a, b in sorted(pairs)))
    return BertweetTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"), model_max_length=64, **options)


def _fast(inner, **options):
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, cls_token="<s>", sep_token="</s>", model_max_length=64, **names, **options
    )


def sizes_of(tokenizer, monkeypatch):
    """Return a list that fills with the number of characters that each call of the tokenizer is given."""
    seen, call = [], type(tokenizer).__call__

    def counting(self, *texts, **options):
        seen.append(sum(len(text) for part in texts for text in ([part] if isinstance(part, str) else part)))
        return call(self, *texts, **options)

    monkeypatch.setattr(type(tokenizer), "__call__", counting)
    return seen
