"""What a run needs of a card, of the machine and of the disk, before anything is loaded.

parts           the result: bytes by part, for loading, generation and training
architecture    what a plan needs to know of a model: widths, parameters by kind
known           well-known models, built in
families, meta  parameters counted: in closed form, or on the meta device
nearest         the smallest change that needs less, after memory ran out
estimate        the plan of a config: phases and their parts, added up
tensors         bytes of weights, adapter, optimiser state and gradients
generation      what sampling takes
training        what a forward and backward takes
machine         main memory and disk
rewards         reward models beside the policy
planner, fit    a run beside a card; the largest settings that fit; the config that does
chart, report   the page of `groupwise plan`
fitted_file     the config that fits, written
check           whether a run can fit here, before it starts
"""
