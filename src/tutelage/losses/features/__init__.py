"""Losses of features: what a layer of each model computes for one sample."""
