// Command bench measures banger against its floors: what the same work costs without banger.
//
// Floor and product are measured in turn, in pairs, so that a busy host slows both. Each row has a state directory of its
// own; programs are copied first, so that a build meanwhile changes nothing. Images and kernels are shared with the
// scenarios of test/e2e and built when they are missing.
//
//	make bench                       all rows
//	make bench BENCH=run,exec        some
//	make bench BENCH_PAIRS=30        more pairs than 15
//	go run ./test/bench -write docs/performance.md
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"
)

// row is one line of the table.
type row struct {
	name string // in BENCH
	run  func(context.Context, *session) (result, error)
}

func rows() []row {
	return []row{
		{"run", benchRun},
		{"exec", benchExec},
		{"list", benchList},
		{"delete", benchDelete},
		{"idle", benchIdle},
		{"memory", benchMemory},
		{"hog", benchHog},
		{"copy", benchCopy},
		{"copysmall", benchCopySmall},
		{"overlay", benchOverlay}, {"overlayread", benchOverlayRead}, {"overlaycache", benchOverlayCache},
	}
}

// Defaults: pairs of floor and product, and boots beside hogs.
const (
	defaultPairs = 15
	defaultBoots = 50
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == hogArgument {
		hog()
	}
	write := flag.String("write", "", "a document whose table is replaced by this run's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *write)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, document string) error {
	chosen, err := choose(os.Getenv("BENCH"))
	if err != nil {
		return err
	}
	h, err := newHost()
	if err != nil {
		return err
	}
	defer h.close()
	s := &session{host: h, pairs: number("BENCH_PAIRS", defaultPairs), boots: number("BENCH_BOOTS", defaultBoots)}
	conditions, err := h.conditions(ctx)
	if err != nil {
		return err
	}
	var results []result
	for _, r := range chosen {
		fmt.Fprintf(os.Stderr, "bench: %s\n", r.name)
		begun := time.Now()
		made, err := r.run(ctx, s)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("cannot measure %s: %w", r.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", r.name, time.Since(begun).Round(time.Second))
		results = append(results, made)
	}
	text := report(conditions, results)
	fmt.Print(text)
	if document == "" {
		return nil
	}
	return publish(document, text)
}

func choose(names string) ([]row, error) {
	if names == "" {
		return rows(), nil
	}
	var chosen []row
	for name := range strings.SplitSeq(names, ",") {
		found := false
		for _, r := range rows() {
			if r.name == name {
				chosen, found = append(chosen, r), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no row %q: run, exec, list, delete, idle, memory, hog, copy, copysmall, overlay, overlayread and overlaycache are there", name)
		}
	}
	return chosen, nil
}

// number reads a positive number from the environment.
func number(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil && n > 0 {
		return n
	}
	return otherwise
}
