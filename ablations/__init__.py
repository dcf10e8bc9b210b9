"""What is varied: factors, arms, studies, one run and its record."""

from core import errors as errors  # first of all: in our commands Ctrl-C is one line from now on
