from greetings.words import WORDS

__all__ = ["WORDS"]
