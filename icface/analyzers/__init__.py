"""Analyzers: who measures landmarks, pose and action units. `create` makes one by name, `from_record` again."""

from icface.analyzers.registry import create, from_record, record, registration, registrations

__all__ = ["create", "from_record", "record", "registration", "registrations"]
