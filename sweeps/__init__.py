"""Who runs it. Here the commands, one file each; what they are made of lies in the folders, by what it is about."""

from core import errors as errors  # first of all: in our commands Ctrl-C is one line from now on
