"""What the markup is tried with."""
