"""The log of samples: records, their one JSONL writer, reading, export.

records, record_log   a line of `samples.jsonl` or `rollouts.jsonl`; the log of an evaluation
jsonl, writer         one line of strict JSON, and its reader; the writer of every append-only file
metrics_log           a line of `metrics.jsonl`
problems              a log counted: a few numbers for each problem
settings              `settings.json`: how a log's samples were made
export                a log as Parquet or CSV
files, lock           files replaced all or nothing; the lock of an open file
"""
