"""Speed against the project's bars: `python -m benchmarks.slider`, and so on (`make bench`)."""
