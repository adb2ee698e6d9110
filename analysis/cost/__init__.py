"""What runs and storages cost: price lists, what can be bought, the source text's tables, one's own."""
