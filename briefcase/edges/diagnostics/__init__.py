"""Diagnostics: is it sound, does it meet its objectives, and what is the evidence.

Callers: `api`, `cli`; daemon.
"""
