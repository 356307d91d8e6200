"""What the pack can show without a download: drawn scenes, drawn styles, judges of them, and a model's weights."""
