"""Image metrics. Imports nothing, so that commands which need only the names start fast."""
