"""What is learned: text -> tensors -> model -> text."""

from core import errors as errors  # first of all: in our commands Ctrl-C is one line from now on
