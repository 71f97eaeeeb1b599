"""What the networks are and how they came to be."""
