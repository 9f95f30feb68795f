"""Where `download` gets its images."""
