"""From files and hub data sets to examples, prompts, demonstrations and scored groups."""
