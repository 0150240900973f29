"""Chat templates: what lays a conversation out as text and says who wrote what (`base.py`)."""

from camelid.data.templates.named import named_template, template_for

__all__ = ["named_template", "template_for"]
