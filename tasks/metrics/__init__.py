"""Task metrics beyond torchmetrics."""
