"""Distillation: a teacher learns a corpus, and writes its training targets anew."""
