"""Losses of logits: what the models say of each class."""
