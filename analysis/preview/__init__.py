"""A picture of a W&B workspace without W&B: its workspace.json, drawn by us from the run folders.

    python -m analysis.preview runs/modules --workspace dashboard/modules/workspace.json --out workspace.html

It shows which panels there are, where, and of what; W&B's own page looks otherwise, and the preview says so.
"""
