"""Dashboards as code: the W&B workspace and report of a study, and optuna-dashboard on this machine."""
