"""Logs of strace: read by kernels (kernels/) where a line is of a frequent form, line by line where it is not."""
