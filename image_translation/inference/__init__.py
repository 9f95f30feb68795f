"""Trained models: loading and using them."""
