"""What `python -m core.bench` measures: rates of a CPU and of a GPU."""
