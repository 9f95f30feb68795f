"""Where `download` gets its pictures."""
