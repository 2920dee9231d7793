"""What a user can put right."""


class Fault(Exception):
    """Something that the user can put right, said in one line."""
