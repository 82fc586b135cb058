"""Losses of relations: how the samples of a batch lie to each other."""
