"""Rewards that the user brings: functions in the forms that are known, classes, modules.

functions   `load_reward`, `adapt`: from `module:function` or a Python object to a reward
forms       what a function is given, by the names of its parameters: TRL's form, verl's, ...
call        what goes along with a batch: the trainer's state, `log_metric`, `log_extra`
returned    what came back, as numbers; or what is wrong with it
event_loop  async functions, all in one event loop
modules     the user's files, importable with what stands beside them
"""
