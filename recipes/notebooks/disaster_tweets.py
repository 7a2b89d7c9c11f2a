"""What disaster_tweets.ipynb and disaster_tweets.ko.ipynb are made of, by `make notebooks`; edit here, not there.

A cell begins with `# %%`: code for both, or `# %% [markdown] en` and `# %% [markdown] ko`, the text of one language.
"""

# %% [markdown] en
# # Is this tweet about a real disaster? Two ways to a BERT classifier
#
# You have texts and labels, and you reach for BERT. Then you come to a fork: take the finished
# `BertForSequenceClassification` (**stock**) as it is, or take the plain `BertModel` and put your own classification
# head and your own loss on top (**custom**). This notebook takes both paths on the same rows, writes a loss and a
# pooling in a cell, asks whether the difference is real, and ends in `submission.csv`.
#
# It reads the files of Kaggle's *nlp-getting-started* where it finds them. Where it does not, it reads 4,000 food
# reviews. Those, and a small BERT, are installed as packages, so nothing is downloaded and two CPU cores are done in a
# few minutes. The outputs below were recorded with the food reviews. ([한국어](disaster_tweets.ko.ipynb))

# %% [markdown] ko
# # 이 트윗은 진짜 재난 이야기일까? BERT 분류기로 가는 두 갈래 길
#
# 텍스트와 레이블이 있고, BERT를 써 보려고 한다. 그러면 갈림길을 만난다. 완성된 `BertForSequenceClassification`(**stock**)을
# 그대로 쓸 것인가, 아니면 기본 `BertModel`에 분류 헤드와 손실 함수를 직접 붙일 것인가(**custom**). 이 노트북에서는 같은
# 데이터로 두 길을 모두 가 본다. 손실 함수와 풀링을 셀에서 직접 작성하고, 점수 차이가 진짜인지 따져 본 뒤, 마지막으로
# `submission.csv`를 만든다.
#
# Kaggle *nlp-getting-started* 대회의 파일이 있으면 그것을 읽고, 없으면 식품 리뷰 4,000건을 읽는다. 식품 리뷰와 작은 BERT는
# 패키지로 함께 설치되므로 아무것도 내려받지 않으며, CPU 코어 두 개로 몇 분이면 끝난다. 아래 출력은 식품 리뷰로 실행한 결과다.
# ([English](disaster_tweets.ipynb))

# %% [markdown] en
# ## Install
#
# Skip this cell where `bert_recipes` is installed. Otherwise remove the `# ` from the lines of one of the two blocks:
#
# - **without internet** (Kaggle): upload the zip that `make bundle` writes as a data set named `bert-recipes`, add it to
#   this notebook, and take the first block. torch, numpy and CUDA stay as they are.
# - **with internet** (Colab, Kaggle): put a clone of the repository beside this notebook, as `bert-recipes`, and take
#   the second block.

# %% [markdown] ko
# ## 설치
#
# `bert_recipes`가 이미 설치되어 있으면 이 셀은 건너뛴다. 아니면 아래의 두 묶음 가운데 하나를 골라 줄 앞의 `# `를 지우고 실행한다.
#
# - **인터넷이 꺼져 있을 때**(Kaggle): `make bundle`로 만든 zip 파일을 `bert-recipes`라는 이름의 데이터셋으로 올려 이 노트북에
#   추가하고, 첫 번째 묶음을 쓴다. torch, numpy, CUDA는 그대로 둔다.
# - **인터넷이 될 때**(Colab, Kaggle): 저장소를 이 노트북 옆에 `bert-recipes`라는 이름으로 클론해 두고, 두 번째 묶음을 쓴다.

# %%
# bundle = "/kaggle/input/bert-recipes"
# %pip install --quiet --no-index --find-links {bundle}/wheels 'bert-recipes[train]'
# %pip install --quiet --no-index --find-links {bundle}/wheels --no-deps --require-hashes -r {bundle}/embedded.txt

# %pip install --quiet './bert-recipes[train]'
# %pip install --quiet --no-deps --require-hashes -r bert-recipes/embedded.txt

# %% [markdown] en
# ## The data and the settings, in one cell
#
# `settings` holds what all runs below have in common; every key is a flag of the recipes by the same name. Forty steps
# show the way and no more. For a serious run, take `max_steps` out, add `"num_train_epochs": 2`, and give `model` a
# larger one: `google-bert/bert-base-uncased` from the Hub, or a folder.

# %% [markdown] ko
# ## 데이터와 설정은 이 셀 하나에서 정한다
#
# `settings`에는 아래의 모든 학습에 공통인 값이 들어 있다. 키는 모두 레시피의 인자와 이름이 같다. 40스텝은 과정을 보여 주기 위한
# 것일 뿐이다. 제대로 학습하려면 `max_steps`를 빼고 `"num_train_epochs": 2`를 넣은 다음, `model`에 더 큰 모델을 준다. 허브의
# `google-bert/bert-base-uncased`도 되고 모델이 든 폴더도 된다.

# %%
import shutil
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoTokenizer, BertForSequenceClassification, BertModel, logging

import bert_recipes as br

logging.set_verbosity_error()
logging.disable_progress_bar()

PLACES = [
    "/kaggle/input/nlp-getting-started",
    "/kaggle/input/competitions/nlp-getting-started",
    "data/disaster-tweets",
    "../../data/disaster-tweets",
]
tweets = next((place for place in PLACES if Path(place).is_dir()), None)
settings = {
    "dataset": tweets or "embedded:fine-foods",
    "model": "embedded:minilm",
    "max_length": 64,
    "max_steps": 40,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-4,
    "warmup_steps": 0.1,
    "logging_steps": 5,
    "eval_strategy": "steps",
    "eval_steps": 20,
    "save_strategy": "steps",
    "save_steps": 20,
    "overwrite": True,
}
if tweets:
    texts = ["Forest fire near La Ronge Sask. Canada", "What's up man?"]
else:
    settings["labels"] = ["other", "great"]
    texts = ["The best coffee I have ever had!", "Stale, and far too salty."]

# %% [markdown] en
# A validation split is cut from `train`, since the data brings none. All runs below get the same one.

# %% [markdown] ko
# 검증(dev) 데이터가 따로 없으므로 `train`에서 떼어 낸다. 아래의 모든 학습은 똑같이 나눈 데이터를 쓴다.

# %%
data = br.load_data(br.DataArguments(dataset=settings["dataset"], labels=settings.get("labels")))
print({split: len(rows) for split, rows in data.splits.items()}, data.task.label_names)
data.splits["train"].to_pandas().head()

# %% [markdown] en
# ## Both models
#
# Both are loaded from the same checkpoint, so their encoders are the same. The classifier on top of the stock model is
# missing there: it starts from random numbers. It has two labels, the default of `num_labels`.

# %% [markdown] ko
# ## 두 모델
#
# 두 모델은 같은 체크포인트에서 불러오므로 인코더가 서로 같다. stock 모델 맨 위의 분류 헤드(`classifier`)는 체크포인트에 없어서
# 무작위 값에서 시작한다. `num_labels`의 기본값이 2이므로 레이블은 두 개다.

# %%
from bert_recipes.modeling.pretrained import resolve_model

checkpoint = resolve_model(settings["model"])
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
stock_model, about = BertForSequenceClassification.from_pretrained(checkpoint, output_loading_info=True)
plain_model = BertModel.from_pretrained(checkpoint)
stock_model.eval(), plain_model.eval()
sorted(about["missing_keys"])

# %% [markdown] en
# ## What goes in
#
# The tokenizer returns a dictionary, here of PyTorch tensors (`return_tensors="pt"`). `input_ids` are the tokens, between `[CLS]` (101) and `[SEP]` (102).
# `attention_mask` is 1 for a token and 0 for the padding (0) that brings the texts to one length. `token_type_ids` tell
# the two texts of a pair apart; here there is one text, and they are all 0.

# %% [markdown] ko
# ## 무엇이 들어가는가
#
# 토크나이저는 딕셔너리를 돌려준다. 값은 PyTorch 텐서다(`return_tensors="pt"`). `input_ids`는 `[CLS]`(101)와 `[SEP]`(102) 사이에
# 놓인 토큰들이다. `attention_mask`는 토큰이면 1, 길이를 맞추려고 채운 패딩(0)이면 0이다. `token_type_ids`는 문장 쌍에서 두 문장을
# 구별하는데, 여기서는 문장이 하나씩이므로 모두 0이다.

# %%
batch = tokenizer(texts, padding=True, return_tensors="pt")
for name, values in batch.items():
    print(name, values, sep="\n")
print(*tokenizer.convert_ids_to_tokens(batch["input_ids"][1]))

# %% [markdown] en
# ## What comes out
#
# The stock model takes `labels` too. It returns `logits`, one number per label, and `loss`, a single number for the
# whole batch. The plain model knows nothing of labels. It returns `last_hidden_state`, a vector for every token, and
# `pooler_output`, the vector of the first token after one more layer.

# %% [markdown] ko
# ## 무엇이 나오는가
#
# stock 모델은 `labels`도 받는다. 그리고 레이블마다 숫자가 하나씩인 `logits`와 배치 전체에 숫자가 하나인 `loss`를 돌려준다.
# plain 모델은 레이블을 쓰지 않는다. 토큰마다 벡터가 하나씩인 `last_hidden_state`와, 첫 토큰의 벡터가 층을 하나 더 거친
# `pooler_output`을 돌려준다.

# %%
labels = torch.tensor([1, 0])
with torch.no_grad():
    of_stock = stock_model(**batch, labels=labels)
    of_plain = plain_model(**batch)
for model, output in ((stock_model, of_stock), (plain_model, of_plain)):
    print(type(model).__name__, {name: tuple(values.shape) for name, values in output.items()})

# %% [markdown] en
# That is the whole fork. What the stock model has more is a linear layer over `pooler_output` (in training with dropout
# before it) and a cross entropy that is averaged over the batch. Both can be written by hand, to the same numbers:

# %% [markdown] ko
# 두 길의 차이는 이것이 전부다. stock 모델에 더 있는 것은 `pooler_output` 위의 선형층 하나(학습할 때는 그 앞에 드롭아웃)와, 배치
# 전체의 평균을 낸 교차 엔트로피다. 둘 다 직접 작성해도 같은 값이 나온다.

# %%
with torch.no_grad():
    logits = stock_model.classifier(stock_model.bert(**batch).pooler_output)
    losses = F.cross_entropy(logits, labels, reduction="none")
print(torch.equal(logits, of_stock.logits), torch.allclose(losses.mean(), of_stock.loss))
losses

# %% [markdown] en
# ## The first path: stock
#
# Its own head, its own loss. The run is a folder: scores, predictions, the model, and a report.

# %% [markdown] ko
# ## 첫 번째 길: stock
#
# 모델이 가진 분류 헤드와 손실 함수를 그대로 쓴다. 실행 결과는 폴더 하나에 모인다. 점수, 예측, 모델, 보고서가 모두 그 안에 있다.

# %%
stock = br.train("stock", **settings, output_dir="runs/stock")

# %%
stock

# %% [markdown] en
# ## The second path: custom
#
# The plain encoder, and whatever you put on it. `pooling="cls"` hands the last hidden state of the first token straight
# to the classifier. (With `pooling="pooler"` and cross entropy this would be the stock model again, number for number.)

# %% [markdown] ko
# ## 두 번째 길: custom
#
# 기본 인코더에 무엇이든 붙일 수 있다. `pooling="cls"`는 첫 토큰의 마지막 은닉 상태를 곧바로 분류기에 넘긴다.
# (`pooling="pooler"`에 교차 엔트로피를 쓰면 숫자 하나까지 stock 모델과 같아진다.)

# %%
custom = br.train("custom", **settings, pooling="cls", output_dir="runs/custom")

# %% [markdown] en
# ## Your own pooling and your own loss
#
# A pooling is an `nn.Module`, made from the encoder's configuration. It gets the encoder's output and the attention mask
# and returns one vector per text, of any size.
#
# A loss is a function of logits and labels that returns **one number per text**. It must not take the mean: the trainer
# divides by the size of the whole step, so that the step stays the same with gradient accumulation and on several GPUs.

# %% [markdown] ko
# ## 직접 만드는 풀링과 손실 함수
#
# 풀링은 인코더의 설정으로 만드는 `nn.Module`이다. 인코더의 출력과 어텐션 마스크를 받아, 텍스트마다 벡터 하나를 돌려준다. 벡터의
# 크기는 얼마여도 좋다.
#
# 손실 함수는 로짓과 레이블을 받아 **텍스트마다 숫자 하나**를 돌려준다. 평균을 내면 안 된다. 평균은 트레이너가 스텝 전체의 크기로
# 나누어 구한다. 그래야 그래디언트 누적을 쓰거나 GPU가 여러 개여도 같은 스텝이 된다.


# %%
class FirstAndMean(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm = nn.LayerNorm(2 * config.hidden_size)

    def forward(self, output, attention_mask):
        states = output.last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
        return self.norm(torch.cat([states[:, 0], mean], dim=-1))


def entropy_and_brier(logits, labels, share=0.5):
    wanted = F.one_hot(labels, logits.shape[-1])
    brier = (logits.softmax(dim=-1) - wanted).pow(2).sum(dim=-1)
    return F.cross_entropy(logits, labels, reduction="none") + share * brier


with torch.no_grad():
    print(FirstAndMean(plain_model.config)(of_plain, batch["attention_mask"]).shape)
    print(entropy_and_brier(of_stock.logits, labels))

# %%
own = br.train("custom", **settings, pooling=FirstAndMean, loss=entropy_and_brier, output_dir="runs/own")

# %% [markdown] en
# ## Which one is better, and is it really?
#
# All three were validated on the same rows. The interval says what the difference could be on other rows like these:
# where it includes 0, no difference has been shown. With one seed each it speaks of these three runs alone, and forty
# steps show who starts faster, not who ends better: after two epochs on the tweets, with five seeds each (`make
# compare`), no difference between stock and custom can be seen.

# %% [markdown] ko
# ## 어느 쪽이 나은가, 정말로 그런가
#
# 세 모델은 같은 검증 샘플로 평가했다. 신뢰구간은 비슷한 다른 데이터에서 차이가 얼마나 날 수 있는지를 말해 준다. 구간에 0이
# 들어 있으면 차이가 있다고 말할 수 없다. 시드가 하나씩이므로 이 세 번의 학습에 대해서만 말할 수 있다. 게다가 40스텝으로는 어느
# 쪽이 먼저 치고 나가는지를 볼 뿐, 끝까지 학습했을 때 어느 쪽이 나은지는 알 수 없다. 트윗 데이터로 두 에포크씩, 시드 다섯 개로
# 비교하면(`make compare`) stock과 custom의 차이는 보이지 않는다.

# %%
br.compare(stock, custom, own, output_dir="runs/compare")

# %% [markdown] en
# ## Predict new texts

# %% [markdown] ko
# ## 새 텍스트 예측하기

# %%
own.predict(texts)

# %% [markdown] en
# ## submission.csv
#
# The run with the best validation score decides. (It was chosen by that score, so the score itself is now slightly
# optimistic.) With the competition's files the run has written a submission in the form of `sample_submission.csv`, with
# its ids in its order. The food reviews belong to no competition and bring no sample; there the file has the ids of the
# test rows and the predicted labels.

# %% [markdown] ko
# ## submission.csv
#
# 검증 점수가 가장 높은 모델로 만든다. (점수를 보고 골랐으므로 이제 그 점수는 다소 낙관적이다.) 대회 파일로 실행했다면
# `sample_submission.csv`의 형식과 id 순서를 그대로 따른 제출 파일이 실행 폴더에 이미 있다. 식품 리뷰는 대회 데이터가 아니어서
# 예시 제출 파일이 없다. 그래서 테스트 데이터의 id와 예측한 레이블을 파일에 적는다.

# %%
best = max(stock, custom, own, key=lambda run: run.metrics["validation"]["f1"])
if tweets:
    shutil.copy(best.folder / "submission.csv", "submission.csv")
else:
    predictions = pd.read_csv(best.folder / "predictions.csv")
    predictions[["id", "prediction"]].to_csv("submission.csv", index=False)
print(best.folder)
pd.read_csv("submission.csv").head()

# %% [markdown] en
# ## From here
#
# - Every pooling, head and loss with what it was worth: `docs/customising.md`.
# - Both models station by station, on your own versions: `make anatomy`.
# - Five folds and a threshold chosen on out-of-fold rows: `make kaggle`.
# - An interrupted training goes on where it stopped: take `"overwrite"` out of `settings` and run the cell again.

# %% [markdown] ko
# ## 다음에는
#
# - 풀링, 분류 헤드, 손실 함수를 모두 모아 놓은 곳, 그리고 각각이 실제로 얼마나 도움이 됐는지: `docs/customising.ko.md`
# - 지금 설치된 버전으로 두 모델을 단계별로 해부하기: `make anatomy`
# - 다섯 폴드로 학습하고 폴드 밖(out-of-fold) 예측으로 임계값 정하기: `make kaggle`
# - 중단된 학습은 멈춘 곳에서 이어진다. `settings`에서 `"overwrite"`를 빼고 셀을 다시 실행한다.
