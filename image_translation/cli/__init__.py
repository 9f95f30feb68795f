"""What all commands share: the Hydra application, its errors, and its output on the terminal."""
