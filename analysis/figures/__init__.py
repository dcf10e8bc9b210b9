"""The figures, one file each: study -> tidy frame -> statistics -> draw(ax).

A figure module has `NAME` and `figure(study, width=None) -> (Figure, DataFrame)`, the frame being what was drawn, with
the columns arm and label; it raises `Missing` when the study does not hold what it needs, and `TooTall` when it does
not fit into the width (inches) asked for. Add a module to `MODULES` (drawing.py) and it is drawn with the others.
"""
