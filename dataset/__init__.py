"""Pictures and captions: a list of items plus a chain of seeded steps."""
