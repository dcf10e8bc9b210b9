"""What was found: run folders -> tables, statistics, figures. Reads files only, and knows no model."""

from core import errors as errors  # first of all: from now on Ctrl-C is one line
