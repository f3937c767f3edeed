"""A tuned model in the forms that others load, and the proof that it still answers as it did.

run         the story: load, ask, write, load again, ask, sample
source      which model of which run
formats     the forms: `adapter`, `merged`, `gguf`
precision   in which precision the policy computed; what rounding does to a weight
check       the export's answers beside the policy's
answerer    the protocol of a loaded export; `process`: one in a process of its own
gguf        a merged model as a GGUF file, by llama.cpp; `modelfile`: its Modelfile for Ollama
plain       the program that loads with transformers and peft
llama_cpp   the program that loads a GGUF file; `libllama`: llama.cpp's library
"""
