"""A tuned model in the forms that others load, and the proof that it still answers as it did.

run          the story: load, ask, write, load again, ask, sample
source       which model of which run; `place`: where its export goes
tuned        the model as it was in the run; `reference`: what it answers
precision    in which precision it computed; what rounding does to a weight
formats      the forms, each in a file of its own: `adapter`, `merged`, `gguf` (with `modelfile`)
answerer     the protocol of a loaded export; `process`: one in a process of its own
plain        the program that loads with transformers and peft; `llama_cpp`: a GGUF file,
             by `libllama`
check        the export's answers beside the policy's; `pass_at_k`: both on the held-out problems
hub          an export pushed to the hub
card, usage  the model card, and programs that use an export
"""
