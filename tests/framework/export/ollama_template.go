// Prompts as Ollama makes them of a Modelfile's template: Go's text/template with Ollama's names.
//
//	go run ollama_template.go < cases.json    {"template": "…", "conversations": [[{"Role": …}]]}
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

type asked struct {
	Template      string
	Conversations [][]message
}

func main() {
	var cases []asked
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	prompts := [][]string{}
	for _, given := range cases {
		parsed := template.Must(template.New("").Option("missingkey=zero").Parse(given.Template))
		rendered := []string{}
		for _, messages := range given.Conversations {
			var text strings.Builder
			if err := parsed.Execute(&text, map[string]any{"Messages": messages}); err != nil {
				panic(err)
			}
			rendered = append(rendered, text.String())
		}
		prompts = append(prompts, rendered)
	}
	if err := json.NewEncoder(os.Stdout).Encode(prompts); err != nil {
		panic(err)
	}
}
