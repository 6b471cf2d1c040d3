"""The parts of the fused training loop."""
