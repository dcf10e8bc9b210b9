"""Arms at the default beside arms at their own best: the tables of what a search changes about a study's answer.

`python -m analysis.figures runs/modules-search` prints and writes them (tuned.md, tuned.tex), with what they were made
from (arms.csv, effects.csv, trials.csv) and the figures, each with its CSV.
"""
