"""How a round's users are mapped to processors; the algorithm does not know which engine runs it."""
