"""What refocusing costs, form by form, on a suite of models; -m lab benchmark runs it."""
