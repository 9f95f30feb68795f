"""What `check` finds out about a folder of pairs."""
