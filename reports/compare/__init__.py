"""Compares runs: what differs in their configs, and what that does to their measures."""

from reports.compare.document import document, text
from reports.compare.runs import gather

__all__ = ['document', 'gather', 'text']
