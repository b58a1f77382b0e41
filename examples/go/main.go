// Says hello on a port; with --check it says so once and ends.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

const hello = "Hello from Go"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--check" {
		fmt.Println(hello)
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, hello) })
	log.Fatal(http.ListenAndServe(":8080", nil))
}
