"""What training reports: its numbers over micro-batches, steps and ranks."""
