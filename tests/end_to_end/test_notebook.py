"""In a notebook's kernel every way to run a recipe ends well, shows one bar, and tells a mistake in a sentence."""

import importlib.util
import sys

import pytest
from support.kernels import Kernel
from support.paths import RECIPES, ROOT

# Real kernels take minutes: make test-slow.
pytestmark = pytest.mark.slow

INLINE = "module://matplotlib_inline.backend_inline"
FLAGS = {"max_length": 32, "max_steps": 4, "bf16": False, "eval_strategy": "epoch", "logging_steps": 1}
SENTENCE = "--dataset nowhere: no such file or folder"


@pytest.fixture(scope="module")
def call(competition, tiny_bert):
    """Return the code of a call of `br.train`."""

    def code(recipe, **flags):
        given = {"dataset": str(competition), "model": str(tiny_bert)} | FLAGS | flags
        return f"br.train({recipe!r}, **{given!r})"

    return code


@pytest.fixture(scope="module")
def flags(competition, tiny_bert):
    return f"--dataset {competition} --model {tiny_bert} --max_length 32 --max_steps 4 --bf16 false"


def without_widgets(kernel):
    kernel.run("import sys; sys.modules['ipywidgets'] = None")


def with_widgets(kernel):
    kernel.run("import ipywidgets")


WIDGETS = [
    pytest.param(without_widgets, id="without-widgets"),
    pytest.param(
        with_widgets,
        id="with-widgets",
        marks=pytest.mark.skipif(not importlib.util.find_spec("ipywidgets"), reason="ipywidgets is not installed"),
    ),
]


@pytest.fixture(scope="module", params=WIDGETS)
def kernel(request, tmp_path_factory):
    """A kernel in an empty folder, as a person starts one."""
    folder = tmp_path_factory.mktemp("kernel")
    kernel = Kernel(folder, {"MPLBACKEND": None, "MAKELEVEL": None})
    kernel.folder = folder
    request.param(kernel)
    assert kernel.run("import bert_recipes as br").text == ""
    yield kernel
    kernel.stop()


def check_finished(folder, outputs):
    """Check that a run ended in this cell, with its page, and that nothing but the data was warned of."""
    assert outputs.error is None, outputs.text
    assert (folder / "report.html").is_file()
    assert (folder / "plots/loss.svg").is_file() or not (folder / "trainer_state.json").is_file()
    assert f"The run is in {folder.name}/" in outputs.text or f"{folder}/" in outputs.text
    for word in ("report.html could not be made", "Traceback", "Warning", "SystemExit", "IProgress", "Training Loss"):
        assert word not in outputs.text, outputs.text


def check_one_bar(outputs):
    """Check that one bar was shown, moved, and removed in the end."""
    assert sum("<progress" in html for html in outputs.html()) == 1
    updates = outputs.html("update_display_data")
    assert updates[-1] == ""
    assert "<progress" not in str(list(outputs))
    assert not any("<table" in html and "Loss" in html for html in outputs.html() + updates)


@pytest.mark.parametrize("time", ["first", "second"])
def test_training_in_the_kernel_shows_one_bar_and_the_run(time, kernel, call):
    outputs = kernel.run(call("stock", output_dir=f"{time}"))
    check_finished(kernel.folder / time, outputs)
    check_one_bar(outputs)
    shown = outputs[-1]["data"]["text/html"]
    assert outputs[-1]["output_type"] == "execute_result"
    assert f'href="{time}/report.html"' in shown
    assert shown.count('<img src="data:image/svg+xml') == 2
    assert "<td>validation</td>" in shown
    assert 'Next: br.train("custom", dataset=' in outputs.text
    assert "bf16=False" in outputs.text.partition("Next:")[2].partition("\n")[0]


def test_the_bar_is_plain_text_until_a_browser_draws_it(kernel, call):
    outputs = kernel.run(call("custom", output_dir="bar", max_steps=60, max_length=64))
    check_one_bar(outputs)
    drawn = [html for html in outputs.html("update_display_data") if html]
    assert all("/60 steps" in html for html in drawn)


def test_run_magic(kernel, flags):
    outputs = kernel.run(f"%run {RECIPES}/custom.py {flags} --pooling mean --output_dir magic")
    check_finished(kernel.folder / "magic", outputs)
    check_one_bar(outputs)
    assert f"Next: %run {RECIPES}/stock.py --dataset" in outputs.text


def test_a_thread(kernel, call):
    code = f"import threading\nthread = threading.Thread(target=lambda: {call('custom', output_dir='thread')})\n"
    outputs = kernel.run(f"{code}thread.start()\nthread.join()")
    check_finished(kernel.folder / "thread", outputs)


def test_notebook_launcher_with_one_process(kernel, call):
    code = f"def train():\n    {call('stock', output_dir='launched')}\n"
    outputs = kernel.run(f"{code}from accelerate import notebook_launcher\nnotebook_launcher(train, num_processes=1)")
    check_finished(kernel.folder / "launched", outputs)
    check_one_bar(outputs)


def test_a_mistake_is_a_sentence_and_the_kernel_goes_on(kernel):
    for code in ("br.train('stock', dataset='nowhere')", f"%run {RECIPES}/stock.py --dataset nowhere"):
        outputs = kernel.run(code)
        (error,) = outputs
        assert error["ename"] == "UserError"
        assert len(error["traceback"]) == 1
        assert error["traceback"][0].startswith(f"UserError: {SENTENCE}")
    assert kernel.run("1 + 1").text == "2"


def test_help_and_a_wrong_flag_by_magic(kernel):
    outputs = kernel.run(f"%run {RECIPES}/stock.py --help")
    assert "--learning_rate" in outputs.text
    assert outputs.error is None
    outputs = kernel.run(f"%run {RECIPES}/compare.py stock")
    assert outputs.text == "UserError: one thing alone cannot be compared: name two or more."


def test_an_interrupted_training_is_a_sentence_and_the_same_cell_goes_on(kernel, call):
    flags = {"max_steps": 300, "save_strategy": "steps", "save_steps": 5, "eval_strategy": "steps", "eval_steps": 5}
    cell = call("custom", output_dir="interrupted", **flags)
    folder = kernel.folder / "interrupted"
    stopped = kernel.run_and_interrupt(cell, lambda: (folder / "checkpoints/checkpoint-10/sealed.json").is_file())
    assert stopped.error == "StoppedError"
    (sentence,) = stopped[-1]["traceback"]
    assert sentence.startswith("StoppedError: stopped after step")
    assert sentence.endswith("and the same cell goes on from there.")
    assert stopped.html("update_display_data")[-1] == ""
    again = kernel.run(cell)
    assert "Going on from step" in again.text
    check_finished(folder, again)


def test_an_interruption_before_the_training_leaves_the_folder_to_the_next_call(kernel, call):
    slow = "import bert_recipes.runs.run as module, time\nmodule.show_data = lambda *_: time.sleep(60)\n"
    before = "import bert_recipes.runs.run as module; kept = module.show_data"
    assert kernel.run(before).error is None
    folder = kernel.folder / "early"
    stopped = kernel.run_and_interrupt(slow + call("stock", output_dir="early"), (folder / "run.yaml").is_file)
    assert stopped.error == "KeyboardInterrupt"
    again = kernel.run("module.show_data = kept\n" + call("stock", output_dir="early"))
    check_finished(folder, again)


@pytest.mark.parametrize(("backend", "recipe"), [(INLINE, "custom"), ("nonsense", "baseline")])
def test_a_program_that_a_cell_starts_draws_whatever_backend_it_inherits(backend, recipe, kernel, flags):
    assert kernel.run("import os; os.environ.get('MPLBACKEND')").text == repr(INLINE)
    data = flags if recipe == "custom" else flags.partition(" --model")[0]
    command = f"{sys.executable} {RECIPES}/{recipe}.py {data} --output_dir program-{recipe}"
    outputs = kernel.run(f"!MPLBACKEND={backend} {command}")
    check_finished(kernel.folder / f"program-{recipe}", outputs)


def test_make_from_a_cell_without_a_backend(kernel, flags):
    folder = kernel.folder / "made"
    data = flags.partition(" --model")[0]
    # The environment is the one of these tests, and is not made anew.
    make = f"env -u MPLBACKEND make -C {ROOT} -o .venv/.installed"
    outputs = kernel.run(f"!{make} recipe-baseline ARGS='{data} --output_dir {folder}'")
    check_finished(folder, outputs)
    assert "Next: make recipe-stock CONFIG=recipes/configs/quickstart.yaml ARGS='--dataset" in outputs.text


def test_figures_of_the_notebook_stay_its_own(kernel):
    kernel.run("import matplotlib.pyplot as plt")
    outputs = kernel.run("figure = plt.plot([1, 2])")
    assert "image/png" in outputs[-1]["data"]


def test_two_processes_of_notebook_launcher_say_what_one_says(call, tmp_path):
    # In a kernel of its own, in which nothing was trained: accelerate demands that. MPLBACKEND is nonsense besides.
    kernel = Kernel(tmp_path, {"MPLBACKEND": "nonsense", "MAKELEVEL": None})
    try:
        kernel.run("import bert_recipes as br, bert_recipes.terminal")
        code = f"def train():\n    {call('custom', output_dir='two', use_cpu=True)}\n"
        kernel.run("from accelerate import notebook_launcher")
        outputs = kernel.run(f"{code}notebook_launcher(train, num_processes=2, use_port='29577')")
        check_finished(tmp_path / "two", outputs)
        assert outputs.text.count("on 2 x CPU") == 1
        assert outputs.text.count("validation accuracy") == 1
        assert outputs.text.count("custom: scores of the best checkpoint") == 1
        shown = kernel.run("br.load('two')")
        assert "<td>validation</td>" in shown[-1]["data"]["text/html"]
    finally:
        kernel.stop()
