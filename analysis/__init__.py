"""What was found: run folders -> tables, statistics, figures. Reads files only, and knows no model."""

from core import errors as errors  # first of all: in our commands Ctrl-C is one line from now on
