"""Losses, in pure torch."""
