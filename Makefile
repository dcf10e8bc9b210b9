# Everything the project does, as commands; "make" alone prints them. Comments marked ## are that text.
# Works with GNU make 3.81 (macOS) and later, from a folder whose name has spaces.

STUDY   ?= modules
DATA    ?=
SRC     ?=
TGT     ?=
PRESET  ?=
SEEDS   ?=
WORKERS ?=
RUNS    ?= runs
FIGURES ?= figures
FROM    ?= $(RUNS)/$(STUDY)
STORAGE ?= $(value SWEEP_STORAGE)
BUDGET  ?=
REPORT  ?= report
OUT     ?=
ARGS    ?=
JOBS    ?= 2
PYTHON  ?=
VENV    ?= .venv
PY      ?= $(VENV)/bin/python
TORCH_INDEX ?=
PIP_ARGS ?=

# One thread a process: two processes with spinning threads on the same cores are slower than one thread each.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS

# A setting that nobody reads would change nothing, silently: it is refused. Here is what each command reads.
TEXT := DATA SRC TGT PRESET
READS_sweep := STUDY RUNS FIGURES $(TEXT) SEEDS WORKERS STORAGE ARGS
READS_distill := $(TEXT) OUT ARGS
READS_search := $(READS_sweep) BUDGET
READS_worker := STORAGE RUNS DATA ARGS
READS_wandb-sweep := STUDY RUNS $(TEXT) SEEDS ARGS
READS_figures := STUDY RUNS FROM FIGURES ARGS
READS_rescore := STUDY RUNS ARGS
READS_report := STUDY RUNS FROM REPORT ARGS
READS_dashboard := $(READS_report) STORAGE
READS_test := JOBS ARGS
READS_test-slow := $(READS_test)
READS_bench := ARGS
READS_bench-gpu := ARGS
COMMANDS := help setup sweep distill search worker wandb-sweep figures rescore report dashboard test test-slow lint bench bench-gpu clean
SETTINGS := $(sort $(foreach command,$(COMMANDS),$(READS_$(command)))) PYTHON VENV PY TORCH_INDEX PIP_ARGS
ELSEWHERE := OMP_% WANDB_% CUDA_% PIP_INDEX_URL PYTHON% SWEEP_STORAGE %_PROXY %_proxy MPLBACKEND MAKE% SHELL -%

# A text as one word of a shell, whatever stands in it.
define newline


endef
quoted = '$(subst ','\'',$(subst $(newline), ,$1))'

# "Did you mean X?" if one of the words $2 is near the word $1; all of them where there is no Python yet.
NEAREST := import difflib, sys; given, mark, *names = sys.argv[1:]; small = [name.lower() for name in names]; \
  near = difflib.get_close_matches(given.lower(), small, 1); \
  print(*(f"Did you mean {names[small.index(name)]}{mark}?" for name in near))
meant = $(strip $(shell for python in $(call quoted,$(PY)) python3; do \
  "$$python" -c '$(NEAREST)' $(call quoted,$1) '$3' $2 2>/dev/null && exit; done; echo 'There are: $2'))
small = $(shell printf %s $(call quoted,$1) | tr A-Z a-z)

GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
GIVEN_STUDY := $(filter command environment,$(origin STUDY))
GIVEN_FROM := $(filter command environment,$(origin FROM))
OWN_PYTHON := $(filter file,$(origin PY))

# A value that was given stays as it is, also with $ in it; after that the defaults, which are made of others.
$(foreach name,$(SETTINGS),$(if $(filter file,$(origin $(name))),,$(eval override $(name) := $$(value $(name)))))
$(foreach name,$(SETTINGS),$(if $(filter file,$(origin $(name))),$(eval override $(name) := $$($(name)))))

# A folder whose name begins with - is no option of a command.
$(foreach name,RUNS FROM,$(if $(filter -%,$(firstword $($(name)))),$(eval override $(name) := ./$$(value $(name)))))

# Recipes say "$$NAME": what stands in a value is no text of a command, so nothing in it is taken apart or run. The
# storage's URL may hold a password, and a command line, unlike an environment, is for every user of a machine to read.
override SWEEP_STORAGE := $(STORAGE)
export SWEEP_STORAGE $(filter-out STORAGE,$(SETTINGS))
unexport STORAGE

$(foreach name,$(filter-out $(SETTINGS) $(ELSEWHERE),$(GIVEN)),$(error $(name)= is not a variable of this Makefile. \
  $(or $(call meant,$(name),$(SETTINGS),=),`make help` lists them. An option of a run goes by \
  ARGS="--set $(call small,$(name))=VALUE"; what a program reads from its environment goes before make: $(name)=VALUE make $(MAKECMDGOALS))))

GOALS := $(or $(MAKECMDGOALS),help)
UNREAD := $(filter-out $(foreach goal,$(GOALS),$(READS_$(goal))),$(filter $(filter-out PY% VENV TORCH% PIP%,$(SETTINGS)),$(GIVEN)))
$(if $(filter-out $(COMMANDS),$(GOALS)),,$(foreach name,$(UNREAD),$(error `make $(GOALS)` does not read $(name)=; \
  it reads $(or $(sort $(foreach goal,$(GOALS),$(READS_$(goal)))),no variable of a command). `make help` explains them)))

.DEFAULT_GOAL := help
.PHONY: $(COMMANDS)
# In the order given, also with -j: a report needs the sweep before it.
.NOTPARALLEL:

.DEFAULT:
	@printf '%s\n' $(call quoted,error: no command $@. $(or $(call meant,$@,$(COMMANDS)),'make help' lists them)) >&2
	@exit 2

help:
	@echo "Ablations of embedding diffusion: what anchor loss, embedding norm and noise factor each buy."
	@echo
	@sed -n -e 's/^## *$$//p' -e 's/^## //p' Makefile

## Commands
##   make sweep      run a study, every arm with every seed; ends with its table and figures; run again, it goes on
##   make distill    a teacher writes the training targets of DATA= anew, into the corpus folder OUT=; sweep that with DATA=
##   make search     tune the nuisance parameters of each arm of a study with equal budget, then compare arms at their best
##   make worker     help with a sweep that another machine began: STORAGE= is its Optuna storage, DATA= the text here
##   make wandb-sweep  write a study as a W&B sweep file to sweeps/wandb/, and register it where there is a server
##   make figures    redraw table and figures of a study from its run folders, or from W&B (FROM=)
##   make rescore    score the finished runs of a study anew, nothing trained: another tokenizer, a metric of your own
##                   (ARGS="--metric my_metrics:comet", a function in my_metrics.py)
##   make report     write report/index.html: verdicts, tables, figures, samples of a study, in one file
##   make dashboard  W&B workspace and report as code; without a server JSON, optuna-dashboard and our own report
##   make test       run the tests, those that take longest aside
##   make test-slow  run those
##   make lint       check style and types (ruff, mypy, shellcheck where it is installed)
##   make bench      measure training tokens and decoding sentences per second, and what records and tracking cost
##   make bench-gpu  measure what a GPU makes of them: eager, captured, compiled; several runs at once; eight minutes
##   make setup      install into .venv what the others need (they call it themselves; nothing to do takes no time)
##   make clean      remove figures/, caches and build leftovers; runs/, results/, wandb/ and .venv are never touched
##   make help       print this
##
## Variables of these commands, e.g.  make sweep STUDY=noise_factor SEEDS=5
##   STUDY=modules      which study; for sweep also a sweep file (.yaml); for figures, report and dashboard the name of
##                      its folder in runs/
##   DATA=              folder of {train,valid,test}.{SRC,TGT}[.gz]; without it the embedded corpus
##   SRC=de TGT=en      the two suffixes in that folder
##   PRESET=            sizes and data recipe (default: tiny for the embedded corpus, small with DATA)
##   SEEDS=             seeds for each arm (default: as the preset says)
##   WORKERS=           runs at a time (default: one a core, or one a GPU)
##   RUNS=runs          where run folders go
##   FIGURES=figures    where table and figures go
##   REPORT=report      where the report goes
##   FROM=RUNS/STUDY    for figures, report and dashboard: a study's folder anywhere; for figures and report also
##                      wandb:entity/project, X.wandb, or a folder of such files, e.g. FROM=runs/modules/wandb
##                      (with STUDY= one study of several)
##   OUT=               for distill: folder of the new corpus
##   STORAGE=           Optuna storage: a file or a URL (default: a journal file in the study's folder); with a password
##                      in it, say export SWEEP_STORAGE=URL instead: then it is on no command line
##   BUDGET=            time for make search, such as 30m or 4h
##   ARGS=              more arguments for the command, e.g. ARGS=--dry-run, for make test ARGS="-k scores";
##                      quotes keep a word with blanks together, ARGS="--set 'data=my text'", and nothing is run;
##                      for make figures ARGS="--width column" (or page, or inches) and ARGS="--style my.mplstyle"
##   JOBS=2             processes for make test and make test-slow
##
## Variables of the installation
##   PYTHON=python3     Python 3.11, 3.12 or 3.13 to make the environment with
##   VENV=.venv         where the environment is made
##   PY=python          an interpreter that has everything already (conda, a container): then nothing is installed
##   TORCH_INDEX=URL    index to take torch from. Without a GPU on Linux, give the CPU one, or pip fetches gigabytes of
##                      CUDA libraries: it is what pytorch.org, Get Started, shows behind --index-url for Pip and CPU
##                      (also for another CUDA version). Remembered in .venv; given later, torch is exchanged
##   PIP_ARGS=          more arguments for pip, e.g. a mirror or a folder of wheels

setup:
ifneq ($(OWN_PYTHON),)
	@sh .ci/setup.sh
else
	@"$$PY" -c "" 2>/dev/null || { printf 'error: PY=%s does not run; %s\n' "$$PY" \
	  "leave PY out, and make installs into .venv" >&2; exit 2; }
	@"$$PY" .ci/check_python.py
endif

# Only what is set is passed on: the defaults live in the command. ARGS comes last, cut into words by start.py.
START = @"$$PY" .ci/start.py
TEXT_OPTIONS = $${DATA:+--data="$$DATA"} $${SRC:+--src="$$SRC"} $${TGT:+--tgt="$$TGT"} $${PRESET:+--preset="$$PRESET"}
STUDY_OPTIONS = --study="$$STUDY" --runs="$$RUNS" $(TEXT_OPTIONS) $${SEEDS:+--seeds="$$SEEDS"}
SWEEP_OPTIONS = $(STUDY_OPTIONS) --figures="$$FIGURES" $${WORKERS:+--workers="$$WORKERS"}

sweep: setup
	$(START) sweeps.study $(SWEEP_OPTIONS)

distill: setup
	$(START) ablations.distill $(TEXT_OPTIONS) $${OUT:+--out="$$OUT"}

search: setup
	$(START) sweeps.search $(SWEEP_OPTIONS) $${BUDGET:+--budget="$$BUDGET"}

worker: setup
	$(START) sweeps.worker --runs="$$RUNS" $${DATA:+--data="$$DATA"}

wandb-sweep: setup
	$(START) sweeps.wandb_sweep $(STUDY_OPTIONS)

# A source that was named may be W&B's, which is first read back into run folders; a study's own folder goes the direct
# way. STUDY= chooses among the studies of a project only if it is given: its default is for the folders.
FETCH = sweeps.fetch "$$FROM" $(if $(GIVEN_STUDY),--study="$$STUDY") --to="$$RUNS/.fetched"

figures: setup
	$(START) $(if $(GIVEN_FROM),$(FETCH),analysis.figures "$$FROM") --out="$$FIGURES"

rescore: setup
	$(START) ablations.rescore "$$RUNS/$$STUDY"

report: setup
	$(START) $(if $(GIVEN_FROM),$(FETCH) --draw=report,analysis.report "$$FROM") --out="$$REPORT"

dashboard: setup
	$(START) sweeps.dashboard "$$FROM" --report="$$REPORT"

test: setup
	$(START) pytest -q -n "$$JOBS" --dist worksteal -m "not slow"

test-slow: setup
	$(START) pytest -q -n "$$JOBS" --dist worksteal -m slow

lint: setup
	"$$PY" -m ruff check .
	"$$PY" -m ruff format --check .
	"$$PY" -m mypy
	@if command -v shellcheck >/dev/null; then set -x; shellcheck .ci/run .ci/setup.sh; \
	else echo "shellcheck is not installed: .ci/run and .ci/setup.sh are not checked"; fi

bench: setup
	$(START) core.bench
	@ARGS= "$$PY" .ci/start.py sweeps.tracking_cost

bench-gpu: setup
	$(START) core.bench --device cuda

clean:
	rm -rf figures .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find core ablations sweeps analysis tests -name __pycache__ -type d -prune -exec rm -rf {} +
