"""Measurements on checkpoints: kernels (redundancy, skeleton, theory) and the loss around them (loss_surface)."""
