"""What is learned: text -> tensors -> model -> text."""

from core import errors as errors  # first of all: from now on Ctrl-C is one line
