"""From files and hub data sets to examples, prompts, demonstrations and scored groups.

files            rows of JSON, JSONL, CSV, Excel and Parquet files and of hub data sets
tables, workbook CSV in any dialect, and .xlsx
fields           fields of a row by name, nested ones by dots, as text
conversations    chat messages in data
templates        columns put into prompts and completions
rows, examples   rows as examples; the split into training and held-out problems
prompts          the chat template, and each prompt in tokens
demonstrations   completions that the warm start imitates
scored_groups    completions with scores (method `group_scores`); a log exported as such
preferences      pairs for `groupwise train-reward`
toy, kept        the tiny model and its problems; what is kept of it in the user's cache
"""
