"""Parts of the fused training loop."""
