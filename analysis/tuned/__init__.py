"""Arms at the default beside arms at their own best: what a search (make search) changes about a study's answer.

python -m analysis.tuned runs/modules-search --out figures

reads search.json and the two studies it names, prints the tables, and writes them (tuned.md, tuned.tex), what they were
made from (arms.csv, effects.csv, trials.csv) and the figures, each with its CSV, to figures/modules-search/.
"""
