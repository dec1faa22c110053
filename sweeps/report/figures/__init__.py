"""Figures of the report: each is drawn once by matplotlib, for the page, SVG files and PDF."""
