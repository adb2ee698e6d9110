"""What a client, its kernel and its network count while it works: a module for each source."""
