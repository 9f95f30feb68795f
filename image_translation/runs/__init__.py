"""The run folder: its files, its manifest and its lock."""
