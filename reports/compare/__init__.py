"""Compares runs: how their configs differ, and how that changes their measures."""

from reports.compare.document import document, text
from reports.compare.runs import gather

__all__ = ['document', 'gather', 'text']
