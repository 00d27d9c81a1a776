"""The kinds of event: one module for each, which `registry` finds.

kind        what a kind is, and what its module defines
registry    all kinds, by their command and by their number
decode      a frame becomes a command
text        which texts are valid, and how they are normalised
"""
