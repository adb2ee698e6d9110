"""The state that a log leaves out, rebuilt call by call: what iotrace.trace.assemble is made of."""
