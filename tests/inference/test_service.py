"""The service as its clients see it: what they may ask, what they are told, and what no request can do to others."""

import asyncio
import json
import re

import httpx
import numpy as np
import pytest
from support.served import Counted, asked, post, service_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bert_recipes.inference.loading import load_predictor
from bert_recipes.inference.service import create_app
from bert_recipes.task import MULTI_LABEL, REGRESSION


def test_a_run_is_served_with_what_it_predicts(tiny_bert, tmp_path):
    AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "model")
    (tmp_path / "run.yaml").write_text("text_column: body\nmax_length: 32\n")
    predictor = load_predictor(str(tmp_path), bf16=False)
    texts = ["fire in a storm", "", "lovely cake " * 9]
    expected = predictor.predict(texts)
    service = service_of(predictor)
    service.warm_up()

    async def use(client):
        forms = [{"texts": texts}, {"rows": [{"body": text, "other": 1} for text in texts]}]
        several = [await client.post("/predict", json=form) for form in forms]
        return several, await client.post("/predict", json={"text": texts[0]})

    several, one = asked(service, use)
    for answer in several:
        found = answer.json()["predictions"]
        assert [row["prediction"] for row in found] == expected["prediction"].tolist()
        for name in predictor.label_names:
            np.testing.assert_allclose([row["probabilities"][name] for row in found], expected[name], atol=1e-6)
    assert one.json()["predictions"][0]["prediction"] == expected["prediction"][0]


@pytest.mark.parametrize(
    ("predictor", "asked_for", "expected"),
    [
        (
            Counted(),
            {"text": "fire"},
            {"prediction": "fire", "probabilities": {"fire": 0.66666667, "cake": 0.33333333}},
        ),
        (
            Counted({"text_column": ["title", "body"], "text_pair_column": "other"}),
            {"rows": [{"title": "a", "body": "cake", "other": None}]},
            {"prediction": "cake", "probabilities": {"fire": 0.33333333, "cake": 0.66666667}},
        ),
        (
            Counted({"text_pair_column": "other"}),
            {"pairs": [["fire", "cake cake"]]},
            {"prediction": "cake", "probabilities": {"fire": 0.4, "cake": 0.6}},
        ),
        (
            Counted(columns=["keyword"]),
            {"rows": [{"text": "", "keyword": "fire"}]},
            {"prediction": "fire", "probabilities": {"fire": 0.66666667, "cake": 0.33333333}},
        ),
        (
            Counted(problem_type=MULTI_LABEL),
            {"text": "fire"},
            {"prediction": ["fire"], "probabilities": {"fire": 0.66666667, "cake": 0.33333333}},
        ),
        (
            Counted(problem_type=MULTI_LABEL),
            {"text": "fire cake"},
            {"prediction": [], "probabilities": {"fire": 0.5, "cake": 0.5}},
        ),
        (Counted(problem_type=REGRESSION), {"text": ""}, {"prediction": {"fire": 0.5, "cake": 0.5}}),
    ],
)
def test_every_task_and_form(predictor, asked_for, expected):
    answer = post(service_of(predictor), **asked_for)
    assert answer.json() == {"predictions": [expected], "notes": []}


def test_a_value_that_the_training_rows_did_not_have_is_told():
    service = service_of(Counted(columns=["keyword"]))
    answer = post(service, rows=[{"text": "", "keyword": keyword} for keyword in ("fire", "flood", None)])
    assert answer.json()["notes"] == [
        "Column 'keyword': 2 rows have none, or one that the training rows did not have."
    ]
    assert file(service_of(Counted(columns=["keyword"])), b"text,keyword\na,flood\n").json()["notes"]


BAD_BODIES = {
    b'{"texts": []}': "there is no text",
    b'{"texts": ["a", 3]}': "texts[1]: input should be a valid string",
    b'{"texts": "a"}': "texts: input should be a valid array",
    b'{"text": null}': "exactly one of text, texts, pairs, rows, not none",
    b'{"text": "a", "texts": ["b"]}': "not text and texts",
    b'{"inputs": "a"}': "'inputs' is unknown",
    b'{"text": "a\\u0000b"}': "NUL",
    b'{"text": "\\ud800"}': "not valid JSON",
    b'{"text": "\xff"}': "not valid JSON",
    b'{"text": "a"': "not valid JSON",
    b"": "not valid JSON",
    b"[" * 100_000: "not valid JSON",
    b"[1]": "the body: input should be an object",
    b'{"text": "' + b"a" * 201 + b'"}': "a text of 201 characters, and 200 are the most",
    json.dumps({"texts": ["a"] * 21}).encode(): "may have 20 texts, and this one has 21",
    b'{"pairs": [["a"]]}': "pairs[0]",
    b'{"pairs": [["a", "b"]]}': "trained on single texts",
    b'{"rows": [{"text": "a"}, {"txt": "b"}]}': "row 1, counted from 0, has no 'text'",
    b'{"rows": [{"text": 3}]}': "has no text in 'text', but 3",
    b'{"rows": [{"text": ["a"]}]}': "rows[0].text",
    b'{"rows": [{}]}': "has no 'text'",
}


def test_what_is_wrong_with_a_request_is_said_in_one_sentence():
    async def use(client):
        headers = {"Content-Type": "application/json; charset=utf-8"}
        return [await client.post("/predict", content=body, headers=headers) for body in BAD_BODIES]

    for answer, sentence in zip(asked(service_of(Counted()), use), BAD_BODIES.values(), strict=True):
        assert (answer.status_code, list(answer.json())) == (422, ["error"]), answer.text
        assert sentence in answer.json()["error"]
        assert re.fullmatch(r"[^\n]{10,200}\.", answer.json()["error"])


def test_a_form_that_the_model_does_not_take_is_refused():
    pairs, columns = Counted({"text_pair_column": "other"}), Counted(columns=["keyword"])
    for predictor, asked_for, sentence in [
        (pairs, {"text": "a"}, "trained on pairs of texts: give pairs, or rows with 'text', 'other'"),
        (pairs, {"rows": [{"text": "a"}]}, "has no 'other'"),
        (columns, {"text": "a"}, "takes keyword beside the text: give rows"),
        (columns, {"rows": [{"text": "a"}]}, "has no 'keyword'"),
        (columns, {"rows": [{"text": "a", "keyword": "b" * 201}]}, "a text of 201 characters"),
    ]:
        answer = post(service_of(predictor), **asked_for)
        assert answer.status_code == 422
        assert sentence in answer.json()["error"]


def test_a_body_is_refused_before_it_is_read_into_memory():
    read = 0

    async def endless():
        nonlocal read
        while True:
            read += 2**16
            yield b" " * 2**16

    async def use(client):
        headers = {"Content-Type": "application/json"}
        declared = await client.post("/predict", content=endless(), headers=headers | {"Content-Length": "200001"})
        assert read == 0 or read == 2**16
        return declared, await client.post("/predict", content=endless(), headers=headers)

    for answer in asked(service_of(Counted()), use):
        assert (answer.status_code, answer.json()) == (
            413,
            {"error": "the body may have 200,000 bytes: send the texts in several requests."},
        )
    assert read < 400_000


def test_a_body_counts_as_held_while_its_rows_wait():
    predictor = Counted()

    async def use(client):
        predictor.free.clear()
        headers = {"Content-Type": "application/json"}
        large = b'{"text": "fire"' + b" " * 190_000 + b"}"
        waiting = [asyncio.create_task(client.post("/predict", content=large, headers=headers)) for _ in range(15)]
        while sum(one.done() for one in waiting) < 3:
            await asyncio.sleep(0.01)
        predictor.free.set()
        after = await asyncio.gather(*waiting)
        return after, await client.post("/predict", content=large, headers=headers)

    several, last = asked(service_of(predictor), use)
    # Of each, 190,016 bytes less 65,536 count, and 8 times 200,000 have room.
    assert sorted(answer.status_code for answer in several) == [200] * 12 + [503] * 3
    assert last.status_code == 200


def test_too_many_large_bodies_at_once_are_refused_and_small_ones_are_not():
    async def use(client):
        go = asyncio.Event()

        async def slow():
            yield b'{"text": "fire"' + b" " * 190_000
            await go.wait()
            yield b"}"

        headers = {"Content-Type": "application/json"}
        tasks = [asyncio.ensure_future(client.post("/predict", content=slow(), headers=headers)) for _ in range(14)]
        await asyncio.sleep(0.2)
        small = await client.post("/predict", json={"text": "fire"})
        go.set()
        return small, await asyncio.gather(*tasks), await client.post("/predict", content=slow(), headers=headers)

    small, large, after = asked(service_of(Counted()), use)
    assert (small.status_code, after.status_code) == (200, 200)
    refused = [answer for answer in large if answer.status_code == 503]
    assert len(refused) == 2
    assert int(refused[0].headers["Retry-After"]) > 0
    assert {answer.status_code for answer in large} == {200, 503}


@pytest.mark.parametrize("given", ["text/plain", "", "multipart/form-data"])
def test_another_content_type_is_refused(given):
    answer = asked(
        service_of(Counted()),
        lambda client: client.post("/predict", content=b'{"text": "a"}', headers={"Content-Type": given}),
    )
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("the Content-Type must be application/json")


def test_a_full_queue_says_when_to_come_again():
    predictor = Counted()
    predictor.free.clear()

    async def use(client):
        def ask(count, address):
            transport = httpx.ASGITransport(client._transport.app, client=(address, 1))
            other = httpx.AsyncClient(transport=transport, base_url="http://service")
            return asyncio.ensure_future(other.post("/predict", json={"texts": ["a"] * count}))

        waiting = [ask(1, "a")]
        await asyncio.to_thread(predictor.begun.wait, 10)
        for address in "aabb":
            waiting.append(ask(20, address))
            await asyncio.sleep(0.05)
        refused = [await ask(1, "a"), await ask(1, "d")]
        # More of one client than its half, and more of all than there is room for.
        predictor.free.set()
        return refused, await asyncio.gather(*waiting)

    refused, answered = asked(service_of(predictor, most_waiting=80), use)
    assert [answer.status_code for answer in refused] == [429, 503], [answer.text for answer in refused]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert all(re.search(r"try again in \d+ seconds\.$", answer.json()["error"]) for answer in refused)
    assert {answer.status_code for answer in answered} == {200}


def test_a_failing_text_costs_its_own_request_and_no_log_holds_it(caplog, capfd):
    predictor = Counted()

    async def use(client):
        predictor.free.clear()
        texts = ["fire", "bad secret", "cake"]
        answers = [asyncio.ensure_future(client.post("/predict", json={"text": text})) for text in texts]
        await asyncio.sleep(0.2)
        predictor.free.set()
        answers = await asyncio.gather(*answers)
        return [*answers, await client.get("/health"), await client.get("/metrics")]

    *answers, health, metrics = asked(service_of(predictor), use)
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert answers[1].json() == {"error": "the model failed on this row."}
    assert health.status_code == 200
    assert "bert_recipes_failed_rows_total 1.0" in metrics.text
    assert 'bert_recipes_requests_total{route="/predict",status="500"} 1.0' in metrics.text
    assert "secret" not in caplog.text + "".join(capfd.readouterr())
    assert "ValueError" in caplog.text


def test_a_failure_of_the_service_itself_is_answered_and_logged_without_the_text(caplog, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError(f"secret {args}")

    monkeypatch.setattr("bert_recipes.inference.service.answer_of", broken)
    answer = post(service_of(Counted()), text="secret")
    assert answer.status_code == 500
    assert "its log says where" in answer.json()["error"]
    assert "ZeroDivisionError" in caplog.text
    assert "secret (" not in caplog.text


def test_rows_of_a_client_that_left_are_dropped():
    predictor = Counted()
    predictor.free.clear()

    async def use(client):
        first = asyncio.ensure_future(client.post("/predict", json={"text": "first"}))
        await asyncio.to_thread(predictor.begun.wait, 10)
        messages = [
            {"type": "http.request", "body": b'{"text": "gone"}', "more_body": False},
            {"type": "http.disconnect"},
        ]
        sent = []

        async def receive():
            await asyncio.sleep(0.1)
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
        await client._transport.app(scope | {"client": ("127.0.0.1", 1)}, receive, send)
        predictor.free.set()
        await first
        return sent

    sent = asked(service_of(predictor), use)
    assert sent[0]["status"] == 499
    assert predictor.batches == [[("first", None)]]


def test_each_word_is_left_out_once():
    answer = post(
        service_of(Counted({"text_pair_column": "other"})), "/explain", pair=["a fire 😀", "cake  fire"]
    ).json()
    assert answer["prediction"] == "fire"
    assert (answer["text"], answer["text_pair"]) == ("a fire 😀", "cake  fire")
    assert [(word["text"], word["of_pair"], word["start"]) for word in answer["words"]] == [
        ("a", False, 0),
        ("fire", False, 2),
        ("😀", False, 7),
        ("cake", True, 0),
        ("fire", True, 6),
    ]
    # 3 of 5 with all; 2 of 4 without a fire; 3 of 4 without the cake.
    assert [round(word["effect"]["fire"], 8) for word in answer["words"]] == [0, 0.1, 0, -0.15, 0.1]


def test_a_text_without_words_and_one_of_many_are_explained():
    service = service_of(Counted(), characters=10_000, most_waiting=202)

    async def use(client):
        return [await client.post("/explain", json={"text": text}) for text in (" ", "fire " * 1234)]

    empty, long = asked(service, use)
    assert empty.json()["words"] == []
    assert len(long.json()["words"]) == 95  # of 13 words each


def file(service, content, name="new.csv", **query):
    headers = {"Content-Type": "application/octet-stream"}
    return asked(
        service,
        lambda client: client.post("/predict/file", params={"name": name, **query}, content=content, headers=headers),
    )


def test_a_file_is_read_and_predicted_as_make_predict_does():
    content = 'id;body\nx;"fire; fire"\ny;\n'.encode("utf-16")
    answer = file(service_of(Counted({"text_column": "body"})), content, delimiter="semicolon").json()
    rows = ["id,prediction,fire,cake", "x,fire,0.75000000,0.25000000", "y,fire,0.50000000,0.50000000", ""]
    assert answer["csv"] == "\r\n".join(rows)
    assert [(row["id"], row["text"], row["prediction"]) for row in answer["rows"]] == [
        ("x", "fire; fire", "fire"),
        ("y", "", "fire"),
    ]
    assert file(service_of(Counted()), b"fire\ncake\n", "my texts.TXT").json()["csv"].count("\r\n") == 3
    korean = "id,문장\nx,불이 났다\n".encode("cp949")
    read = file(service_of(Counted()), korean, encoding="cp949", text_column="문장").json()["rows"]
    assert [row["text"] for row in read] == ["불이 났다"]


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (b"id,text\n", "new.csv", "no rows"),
        (b"id,other\n1,2\n", "new.csv", "text"),
        (b"", "new.csv", ""),
        (b"a\n" * 21, "new.txt", "more than 20 rows"),
        (b"a" * 201, "new.txt", "a text of 201 characters"),
        (b"a", "new.exe", "name must end in .csv, .tsv, .txt or .jsonl"),
        (b"a", "../../etc/passwd", "name must end in"),
        (b'{"text": 3}\n', "new.jsonl", "no text"),
        (b"text\n\0\n", "new.csv", "NUL"),
        ("text,id\n불,1\n".encode("cp949"), "new.csv", "give encoding"),
        (b"text;id\n1;2\n", "new.csv", "give delimiter semicolon"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(content, name, sentence):
    answer = file(service_of(Counted({"text_column": "text"})), content, name)
    assert answer.status_code == 422, answer.text
    assert sentence in answer.json()["error"]
    assert "/tmp" not in answer.json()["error"]
    assert "--" not in answer.json()["error"]


def test_an_unknown_query_is_refused():
    answer = file(service_of(Counted()), b"text\nfire\n", nothing="x")
    assert (answer.status_code, answer.json()) == (422, {"error": "nothing: extra inputs are not permitted."})
    assert "encoding" in file(service_of(Counted()), b"text\nfire\n", encoding="klingon").json()["error"]


def test_readiness_ends_before_health_and_connections_are_closed():
    service = service_of(Counted())

    async def use(client):
        before = await client.get("/ready")
        service.is_stopping = True
        answers = [await client.get(where) for where in ("/ready", "/health")]
        return before, *answers, await client.post("/predict", json={"text": "fire"})

    before, ready, health, predicted = asked(service, use)
    assert (before.status_code, ready.status_code, health.status_code, predicted.status_code) == (200, 503, 200, 200)
    assert "connection" not in before.headers
    assert predicted.headers["connection"] == "close"


# The thread is ended by an exception on purpose.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_worker_is_told_by_health():
    class Dying(Counted):
        def probabilities(self, rows):
            raise SystemExit

    async def use(client):
        answer = await client.post("/predict", json={"text": "fire"})
        await asyncio.sleep(0.1)
        return answer, await client.get("/health"), await client.get("/ready")

    answer, health, ready = asked(service_of(Dying()), use)
    assert [answer.status_code, health.status_code, ready.status_code] == [500, 503, 503]


def test_what_the_model_takes_is_said_and_described():
    service = service_of(Counted({"text_pair_column": "other"}, columns=["keyword"]))
    model, schema, page, missing = asked(
        service,
        lambda client: asyncio.gather(*(client.get(where) for where in ("/model", "/openapi.json", "/", "/docs"))),
    )
    assert model.json() == {
        "name": "runs/tiny",
        "label_names": ["fire", "cake"],
        "problem_type": "single_label_classification",
        "text_columns": ["text"],
        "pair_column": "other",
        "columns": ["keyword"],
        "limits": {"texts": 20, "characters": 200},
    }
    described = schema.json()["paths"]["/predict"]["post"]
    assert set(described["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {
        "text",
        "texts",
        "pairs",
        "rows",
    }
    assert {"200", "413", "422", "429", "500", "503"} <= set(described["responses"])
    assert missing.status_code == 404
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|@import|url\(|https?://""", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_without_batching_each_row_is_alone():
    service = service_of(Counted(), most_rows=1)
    assert post(service, texts=["a", "b"]).status_code == 200
    assert [len(batch) for batch in service.predictor.batches] == [1, 1]


def test_the_application_starts_and_ends_its_queue():
    service = service_of(Counted())

    async def main():
        messages = asyncio.Queue()
        answers = []

        async def send(message):
            answers.append(message["type"])
            if message["type"].endswith("startup.complete"):
                assert service.batcher.is_alive
                await messages.put({"type": "lifespan.shutdown"})

        await messages.put({"type": "lifespan.startup"})
        await create_app(service)({"type": "lifespan"}, messages.get, send)
        assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert not service.batcher.is_alive

    asyncio.run(main())
