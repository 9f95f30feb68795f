"""Image metrics: pure functions under torchmetrics classes."""
