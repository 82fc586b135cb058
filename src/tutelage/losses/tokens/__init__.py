"""Losses of token sequences: masks, shifts and denominators stated, sparse teachers."""
