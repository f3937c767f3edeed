"""The presets, one YAML file a run: `groupwise configs` lists them."""
