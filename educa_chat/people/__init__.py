"""The ways to sign in, each an `Identity` in a module of its own."""
