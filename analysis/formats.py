"""What figures are written as, and how wide."""

FORMATS = ("pdf", "png", "svg")
COLUMN, PAGE = 3.35, 6.9
"""Widths in inches of a column and of a page of a two-column paper."""
