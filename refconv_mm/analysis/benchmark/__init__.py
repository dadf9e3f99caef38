"""What refocusing costs, form by form, on a suite of models; tools/benchmark.py runs it."""
