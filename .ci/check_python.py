"""What the interpreter given as PY lacks: the right version, or packages that pyproject.toml names, extras aside."""

import re
import sys
from importlib.metadata import distributions


def check_version() -> None:
    """End unless this is a Python that the project runs on."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"error: Python 3.11, 3.12 or 3.13 is needed, {sys.executable} is {sys.version.split()[0]}")


def check_packages() -> None:
    """End if a package is missing that the project does not run without."""
    import tomllib  # not there in a Python that is too old

    with open("pyproject.toml", "rb") as file:
        needed = [re.split("[^a-zA-Z0-9-]", line)[0] for line in tomllib.load(file)["project"]["dependencies"]]
    found = {each.metadata["Name"].lower().replace("_", "-") for each in distributions()}
    lacks = ", ".join(name for name in needed if name not in found)
    if lacks:
        sys.exit(
            f"error: {sys.executable} lacks {lacks}; leave PY out, and make installs into .venv,\n"
            f"or:  {sys.executable} -m pip install -r requirements.txt"
        )


if __name__ == "__main__":
    check_version()
    check_packages()
