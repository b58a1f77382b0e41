// Says hello; the text is a document of JSON, so that there is something to compile.
package main

import (
	"encoding/json"
	"log"
	"os"
)

type greeting struct {
	Text string `json:"text"`
}

func main() {
	if err := json.NewEncoder(os.Stdout).Encode(greeting{Text: "Hello from Go"}); err != nil {
		log.Fatal(err)
	}
}
