"""The log of samples: records, their one JSONL writer, reading, export."""
