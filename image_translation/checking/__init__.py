"""Checks a set of pairs before training."""
