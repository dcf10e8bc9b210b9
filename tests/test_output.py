"""Standard output that is closed or full: work goes on, or ends with a status and one message; files are not blamed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import write_study

ROOT = Path(__file__).resolve().parent.parent
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")


def run(code: str, out: int, unbuffered: str = "1", **more: str) -> subprocess.CompletedProcess[str]:
    """A program with this standard output; more: of its environment."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered} | more
    line = [sys.executable, *(["-c", code] if "\n" in code else code.split())]
    return subprocess.run(line, cwd=ROOT, env=env, stdout=out, stderr=subprocess.PIPE, text=True)


def closed() -> int:
    """The writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


WORK = """
import sys
from core.errors import command, outlive_output
def main():
    {0}
    for number in range(3):
        print("line", number, flush=True)
    print("done", file=sys.stderr)
sys.exit(command(main)())
"""


def test_long_work_goes_on_where_nobody_reads() -> None:
    done = run(WORK.format("outlive_output()"), closed())
    assert done.returncode == 0
    assert done.stderr == "standard output: Broken pipe; the work goes on without it\ndone\n"


@needs_full
def test_long_work_goes_on_on_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        done = run(WORK.format("outlive_output()"), full.fileno())
    assert done.returncode == 0 and done.stderr.endswith("the work goes on without it\ndone\n")


def test_other_programs_end_as_if_by_the_signal() -> None:
    done = run(WORK.format("pass"), closed())
    assert done.returncode == 141 and done.stderr == ""


@needs_full
def test_a_full_standard_output_is_named_at_the_end_too() -> None:
    code = 'import sys\nfrom core.errors import command\nsys.exit(command(lambda: print("x"))())\n'
    env = {"PYTHONUNBUFFERED": ""}
    with open("/dev/full", "w") as full:
        line = [sys.executable, "-c", code]
        done = subprocess.run(line, cwd=ROOT, env=os.environ | env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr == "error: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("first", "redirected", "status", "said"),
    [
        ("pass", ">&-", 2, "error: standard output: closed, and what there was to say is not written\n"),
        ("pass", "1</dev/null", 2, "error: standard output: Bad file descriptor\n"),
        ("outlive_output()", ">&-", 0, ""),
    ],
)
def test_an_output_that_is_none_is_named(first: str, redirected: str, status: int, said: str, tmp_path: Path) -> None:
    """And no file of ours gets its number: a child would write into it."""
    work = f"open('kept', 'w').write('mine'); {first}; import subprocess; f = open('kept', 'a')"
    code = WORK.format(f"{work}; subprocess.run(['echo', 'a child'], stderr=-3)")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    line = ["bash", "-c", f'"$0" -c "$1" {redirected}', sys.executable, code]
    done = subprocess.run(line, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.replace("done\n", "")) == (status, said)
    assert (tmp_path / "kept").read_text() == "mine"


@needs_full
def test_a_full_standard_output_is_named_in_the_midst_of_work() -> None:
    with open("/dev/full", "w") as full:
        done = run(WORK.format("pass"), full.fileno(), unbuffered="")
    assert done.returncode == 2 and done.stderr.startswith("error: standard output: No space left on device; make room")


@pytest.mark.slow
def test_a_sweep_goes_on_where_nobody_reads_and_without_figures_its_status_says_so(tmp_path: Path) -> None:
    line = "-m sweeps.study --study norm --only norm-latent --preset smoke --seeds 1 --set updates=3"
    line += f" --runs {tmp_path}/runs"
    env = {"WANDB_MODE": "disabled"}
    done = run(f"{line} --figures {tmp_path}/figures", closed(), **env)
    assert done.returncode == 0 and done.stderr.count("Broken pipe; the work goes on") == 1, done.stderr
    assert list(tmp_path.glob("figures/*/table.md"))
    (tmp_path / "file").touch()
    done = run(f"{line} --figures {tmp_path}/file", closed(), **env)
    assert done.returncode == 1 and "no figures; the runs are done. Draw them by: " in done.stderr, done.stderr


def test_figures_are_written_whoever_reads_and_what_was_not_written_is_a_status(tmp_path: Path) -> None:
    study = write_study(tmp_path, "token_loss", seeds=(1,))
    done = run(f"-m analysis.figures {study} --out {tmp_path}/figures --formats svg", closed())
    assert done.returncode == 0 and "Broken pipe" in done.stderr
    assert (tmp_path / "figures" / "token_loss" / "table.md").exists()
    (tmp_path / "file").touch()
    done = run(f"-m analysis.figures {study} --out {tmp_path}/file/x --formats svg", closed())
    assert done.returncode == 2 and "Not a directory; give another folder" in done.stderr
