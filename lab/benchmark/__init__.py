"""The costs of refocusing, form by form, on a suite of models; python -m lab benchmark runs it."""
