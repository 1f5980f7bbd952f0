"""Speed against the project's bars: `python -m benchmarks.slider`, `.analyses`, `.chapters`."""
