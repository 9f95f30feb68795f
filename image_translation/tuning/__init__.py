"""The search behind ``tune``: which options to try, and the trials that try them."""
