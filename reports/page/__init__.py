"""The page of a run: one file with its question, verdict, figures and tables."""

from reports.page.make import make

__all__ = ['make']
