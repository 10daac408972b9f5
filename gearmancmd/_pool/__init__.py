"""What a WorkerPool is made of: the side of the supervisor, that of its children, and what they tell one another."""
