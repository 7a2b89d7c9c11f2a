"""The service's page in a browser: what a person can do on it, in both languages, by mouse and by keyboard."""

import signal
import threading

import pytest
from support.browser import browsing
from support.served import Counted, service_of

from bert_recipes.inference.web_server import bind, server_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    with browsing() as browser:
        yield browser


@pytest.fixture
def opened(browser):
    """Return a function that serves a model and opens its page; in the end nothing was asked of anyone else."""
    ends, errors, asked, addresses = [], [], set(), set()

    def open_page(predictor=None, language="en-US", width=1100, **options):
        service = service_of(predictor or Counted(), **{"most_waiting": 500, **options})
        listener = bind("127.0.0.1", 0)
        server = server_of(service, 0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        ends.append((server, thread))
        context = browser.new_context(locale=language, viewport={"width": width, "height": 800})
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.split("/")[2]))
        address = "{}:{}".format(*listener.getsockname())
        addresses.add(address)
        page.goto(f"http://{address}/")
        page.wait_for_selector("textarea")
        return page

    yield open_page
    for server, thread in ends:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(10)
    assert not errors
    assert asked <= addresses | {""}  # what is downloaded has no address


def words(page, kind):
    page.wait_for_selector("#words mark")
    return page.locator(f"#words mark.{kind}").all_inner_texts()


def test_a_text_is_predicted_and_its_words_are_shown_for_each_label(opened):
    page = opened()
    page.get_by_label("Text").fill("a fire 😀 or cake, a fire")
    page.keyboard.press("Control+Enter")
    assert words(page, "up") == ["fire", "fire"]
    assert words(page, "down") == ["cake,"]
    assert page.inner_text("#said") == "fire"
    assert page.inner_text("#bars").split() == ["fire", "60.0%", "cake", "40.0%"]
    assert page.inner_text("#words") == "a fire 😀 or cake, a fire"
    page.get_by_role("button", name="cake").focus()
    page.keyboard.press("Enter")
    assert words(page, "up") == ["cake,"]
    assert page.get_by_role("button", name="cake").get_attribute("aria-pressed") == "true"
    page.get_by_text("As a table").click()
    assert page.locator("#effects tr").first.inner_text().split() == ["cake,", "+15.0"]


def test_pairs_and_columns_have_their_fields(opened):
    page = opened(Counted({"text_pair_column": "answer"}, columns=["keyword"]))
    page.get_by_label("Text", exact=True).fill("cake")
    page.get_by_label("Second text (answer)").fill("fire")
    page.get_by_label("keyword").fill("fire")
    page.get_by_role("button", name="Predict").click()
    assert words(page, "up") == ["fire"]
    assert page.inner_text("#said") == "fire"
    assert page.inner_text("#words").split() == ["cake", "fire"]


@pytest.mark.parametrize(
    ("problem_type", "text", "said"),
    [
        ("multi_label_classification", "fire", "fire"),
        ("multi_label_classification", "", "no label"),
        ("regression", "fire cake cake", "fire 0.4, cake 0.6"),
    ],
)
def test_other_tasks(opened, problem_type, text, said):
    page = opened(Counted(problem_type=problem_type))
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Predict").click()
    page.wait_for_selector("#explained:not([hidden])")
    assert page.inner_text("#said") == said


def test_it_speaks_the_browsers_language_until_another_is_chosen(opened):
    page = opened(language="ko-KR", width=360)
    assert page.inner_text("h1") == "runs/tiny 사용해 보기"
    assert page.get_attribute("html", "lang") == "ko"
    page.get_by_label("텍스트").fill("불이 났다 fire")
    page.get_by_role("button", name="예측하기").click()
    assert words(page, "up") == ["fire"]
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.get_by_role("button", name="English").click()
    assert page.inner_text("h1") == "Try runs/tiny"
    assert page.inner_text("#said") == "fire"
    page.reload()
    page.wait_for_selector("textarea")
    assert page.inner_text("h1") == "Try runs/tiny"


def test_a_file_becomes_a_table_and_a_download(opened, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("id,text\n" + "".join(f'r{i},"fire, <b>{i}</b>"\n' for i in range(1000)))
    page = opened(texts=1000, most_waiting=4000)
    page.set_input_files("#file", path)
    page.wait_for_selector("#table:not([hidden])")
    assert page.inner_text("#file-state") == "new.csv: 1,000 rows"
    assert page.locator("#rows tr").count() == 1000
    cells = page.locator("#rows tr").nth(999).inner_text().split("\t")
    assert cells == ["r999", "fire, <b>999</b>", "fire", "66.7%", "33.3%"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    lines = download.value.path().read_bytes().decode().split("\r\n")
    assert (lines[0], lines[-2], len(lines)) == ("id,prediction,fire,cake", "r999,fire,0.66666667,0.33333333", 1002)
    assert download.value.suggested_filename == "predictions.csv"


def test_a_file_of_another_encoding_is_read_when_that_is_said(opened, tmp_path):
    path = tmp_path / "new.csv"
    path.write_bytes("id,문장\n1,불이 났다 fire\n".encode("cp949"))
    page = opened(language="ko-KR")
    page.set_input_files("#file", path)
    page.wait_for_selector("#file-problem:not([hidden])")
    assert "encoding" in page.inner_text("#file-problem")
    page.get_by_text("파일이 제대로 읽히지 않으면").click()
    page.get_by_label("인코딩").fill("cp949")
    page.set_input_files("#file", path)
    page.wait_for_selector("#table:not([hidden])")
    assert page.locator("#file-problem").is_hidden()
    assert "불이 났다 fire" in page.inner_text("#rows")


def test_what_goes_wrong_is_said(opened):
    page = opened()
    page.get_by_label("Text").fill("bad")
    page.get_by_role("button", name="Predict").click()
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem") == "the model failed on this row."
    page.route("**/predict", lambda route: route.abort())
    page.get_by_role("button", name="Predict").click()
    page.wait_for_function("document.getElementById('problem').textContent.includes('does not answer')")
    page.unroute("**/predict")
    page.get_by_label("Text").fill("fire")
    page.get_by_role("button", name="Predict").click()
    assert words(page, "up") == ["fire"]
    assert page.locator("#problem").is_hidden()


def test_a_label_is_a_text_and_no_markup(opened):
    names = ["<img src=x onerror=alert(1)>", "{0} $& 😀"]
    page = opened(Counted(label_names=names))
    page.get_by_label("Text").fill("</script><script>alert(1)</script> fire")
    page.get_by_role("button", name="Predict").click()
    assert words(page, "up") == ["fire"]
    assert page.inner_text("#said") == names[0]
    assert page.locator("img").count() == 0
    assert names[1] in page.inner_text("#about")
