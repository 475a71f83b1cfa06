"""Streams in the messages dialect: reading an upstream's, writing a client's."""

from plano.dialects.messages.reader import Reader
from plano.dialects.messages.writer import Writer

__all__ = ["Reader", "Writer"]
