#!/bin/sh
# Make the environment of "make setup" in $VENV and install requirements.txt into it; nothing to do takes no time.
# Reads VENV, PYTHON, TORCH_INDEX and PIP_ARGS, which "make help" explains, from the environment.
#
# $VENV/ready holds the checksum of the lock that is installed, and the index torch came from. While pip works there is
# $VENV/installing: one without a living process is an interrupted installation, made again from nothing.
# $VENV/pip.log holds all that pip said.
set -eu
: "${VENV:=.venv}" "${PYTHON:=}" "${TORCH_INDEX:=}" "${PIP_ARGS:=}"

py="$VENV/bin/python"
log="$VENV/pip.log"
lock="$(cksum < requirements.txt)"
torch="$(grep '^torch==' requirements.txt)"
watcher=
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
version='import sys; print("Python %d.%d" % sys.version_info[:2])'

fail() { echo "error: $1" >&2; exit 2; }

# Line $1 of the marker file $2, or nothing.
line() { sed -n "$1p" "$VENV/$2" 2>/dev/null || true; }

pip() {
  # shellcheck disable=SC2086 # PIP_ARGS are several arguments. No questions: nobody would see them in the log.
  "$py" -m pip install --no-input --progress-bar off --disable-pip-version-check $PIP_ARGS "$@"
}

is_ready() {
  [ "$(line 1 ready)" = "$lock" ] && [ "$(line 2 ready)" = "$index" ] && "$py" -c "" 2>/dev/null
}

refuse_another_python() {
  [ -n "$PYTHON" ] || return 0
  there="$("$py" -c "$version")"
  [ "$("$PYTHON" -c "$version")" = "$there" ] ||
    fail "$VENV is made with $there; for $PYTHON give another folder too: VENV=.venv-other"
}

refuse_a_second_installation() {
  pid="$(line 1 installing)"
  if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
    fail "process $pid is installing into $VENV; wait for it, or remove $VENV if that process is something else"
  fi
}

# Set python to the first of those that may be used and fit.
choose_python() {
  if [ -n "$PYTHON" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
  first="$1"
  for python; do
    if "$python" -c "$fits" 2>/dev/null; then return; fi
  done
  found="$("$first" --version 2>/dev/null || echo "not there")"
  fail "Python 3.11, 3.12 or 3.13 is needed, $first is $found; name one: make setup PYTHON=python3.12"
}

is_whole() {
  [ ! -e "$VENV/installing" ] && "$py" -c "$fits" 2>/dev/null && "$py" -m pip --version >/dev/null 2>&1
}

make_environment() {
  if [ -d "$VENV" ] && [ ! -e "$VENV/pyvenv.cfg" ] && [ ! -e "$VENV/installing" ]; then
    fail "$VENV exists and is not a virtual environment; give another folder: VENV=.venv"
  fi
  echo "Making $VENV with $("$python" --version)"
  rm -rf "$VENV"
  mkdir -p "$VENV"
  echo $$ > "$VENV/installing"
  "$python" -m venv "$VENV" 2> "$VENV/errors" || { cat "$VENV/errors" >&2; exit 1; }
  echo '*' > "$VENV/.gitignore"
}

warn_of_cuda() {
  if [ -n "$index" ] || command -v nvidia-smi >/dev/null 2>&1; then return; fi
  pip --quiet --dry-run --no-deps --report - "$torch" 2>/dev/null | grep -q '"nvidia-' || return 0
  echo "No NVIDIA GPU here (no nvidia-smi), but pip is about to fetch torch's CUDA build: gigabytes. For the CPU build"
  echo "stop it (Ctrl-C) and type    make setup TORCH_INDEX=URL"
  echo "with the URL that pytorch.org, Get Started, shows behind --index-url for Linux, Pip, CPU."
}

on_terminal() { [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; }

# A line that the next one replaces; lines below each other where the output is no terminal.
show() {
  if on_terminal; then printf '\r\033[K%.79s' "$1"; else printf '%s\n' "$1"; fi
}

# What pip has done, a line a package: finding, fetching or using a file that is here; its name, its size. Packages that
# only others ask for are left out: the lock names all of them itself.
steps() {
  sed -n -E -e '/\(from [^-]/d' \
    -e 's/^(Collecting|Requirement already satisfied:) ([^ =<>;]+).*/finding \2/p' \
    -e 's,^Processing (.*/)?([^ -]+)-.*,using \2,p' \
    -e 's,^ *(Downloading|Using cached) (.*/)?([^ -]+)-[^ ]*\.whl( \([^)]*B\))?$,fetching \3\4,p' "$log"
}

# How far pip is with $1 packages. While it installs it says nothing; what is there is counted.
progress() {
  names="$(sed -n 's/^Installing collected packages: / /p' "$log")"
  if [ -n "$names" ]; then
    set -- "$(echo "$names" | tr , '\n' | wc -l)"
    count="$(find "$VENV"/lib/*/site-packages -maxdepth 1 -name '[a-zA-Z]*.dist-info' -newer "$VENV/installing" \
      2>/dev/null | grep -c . || true)"
    echo "installing $count/$(($1))$(echo "$names," | cut -d , -f $((count + 1)))"
  elif tail -n 1 "$log" | grep -q '^WARNING: Retrying'; then
    echo "no answer from the index, pip tries again"
  else
    act=finding
    [ "$(steps | grep -c -E "^($act|using)")" -lt "$1" ] || act=fetching
    echo "$act $(steps | grep -c -E "^($act|using)")/$1 $(steps | sed -n '$s/[a-z]* //p')"
  fi
}

# Show the progress each second; where the output is no terminal when pip does something else, and once a minute.
watch() {
  seconds=0
  before=
  while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    now="$(progress "$1")"
    seconds=$((seconds + 1))
    if on_terminal || [ "${now%% *}" != "$before" ] || [ $((seconds % 60)) = 0 ]; then
      show "Installing $1 packages: $now"
    fi
    before="${now%% *}"
  done
}

stop_watching() {
  if [ -n "$watcher" ]; then { kill "$watcher"; wait "$watcher" || true; } 2>/dev/null; fi
  watcher=
  if on_terminal; then printf '\r\033[K'; fi
}

# Have pip install $1 packages as the other arguments say: one line on the screen; all that pip said if it fails.
install() {
  count="$1"
  shift
  show "Installing $count packages into $VENV: some minutes the first time"
  echo $$ > "$VENV/installing"
  : > "$log"
  watch "$count" &
  watcher=$!
  failed=
  pip "$@" >> "$log" 2>&1 || failed=yes
  stop_watching
  [ -z "$failed" ] || { cat "$log" >&2; fail "pip failed, see above; $log has it too. The same command starts anew"; }
}

trap 'stop_watching; echo "stopped; start the same command again, and it is made anew" >&2; exit 130' INT
index="${TORCH_INDEX:-$(line 2 ready)}"
if is_ready; then refuse_another_python; exit 0; fi
refuse_a_second_installation
choose_python
is_whole || make_environment
echo $$ > "$VENV/installing"
rm -f "$VENV/ready"
warn_of_cuda
[ -z "$index" ] || install 1 --force-reinstall --no-deps --index-url "$index" "$torch"
install "$(grep -c '^[a-z]' requirements.txt)" -r requirements.txt
printf '%s\n%s\n' "$lock" "$index" > "$VENV/ready"
rm "$VENV/installing"
torch="$("$py" -c "from importlib.metadata import version; print(version('torch'))")"
echo "$("$py" -c "$version") with torch $torch is ready"
