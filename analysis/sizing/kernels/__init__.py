"""Kernels of the model: rates of jobs beside each other, and jobs from event to event."""
