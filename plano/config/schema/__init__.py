"""The Plano file as pydantic models, one module per group of sections."""

from plano.config.schema.file import NEWEST_VERSION, PlanoFile, json_schema

__all__ = ["NEWEST_VERSION", "PlanoFile", "json_schema"]
