"""The LightningModule and everything that runs during training."""
