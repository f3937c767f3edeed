"""The name under which scripts import `export`: a run's answers as a table.

from groupwise.evaluation.export import export
export("runs/my-run", "answers.parquet")
"""

from groupwise.evaluation.log.export import export as export
