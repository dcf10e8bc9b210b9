"""What is varied: factors, arms, studies, one run and its record."""

from core import errors as errors  # first of all: from now on Ctrl-C is one line
