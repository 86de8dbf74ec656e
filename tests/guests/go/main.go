// A guest of the size and habits of a real program: a garbage collector, goroutines, files.
package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

func main() {
	var group sync.WaitGroup
	words := make([]string, 4)
	for i := range words {
		group.Add(1)
		go func() {
			defer group.Done()
			words[i] = strings.Repeat("go", i+1)
		}()
	}
	group.Wait()
	fmt.Println(strings.Join(words, " "), len(os.Args))
}
